//! What asks a server to stop or to read its keys again, as each system says it. Made within a runtime of tokio.

use crate::{Error, Result};

pub use system::{Reload, Stop};

/// Watches for both from now on.
///
/// # Errors
/// [`Error::Failed`] where the system refuses.
pub fn watch() -> Result<(Stop, Reload)> {
    system::watch().map_err(|why| Error::failed("signals", why.to_string()))
}

#[cfg(unix)]
mod system {
    use tokio::signal::unix::{Signal, SignalKind, signal};

    /// What asks to stop.
    #[derive(Debug)]
    pub struct Stop([Signal; 2]);
    /// What asks to read keys and certificates again; Windows has nothing of the kind.
    #[derive(Debug)]
    pub struct Reload(Signal);

    pub(super) fn watch() -> std::io::Result<(Stop, Reload)> {
        let stop = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
        Ok((Stop(stop), Reload(signal(SignalKind::hangup())?)))
    }

    impl Stop {
        /// Until it is asked for, once more.
        pub async fn asked(&mut self) {
            let [term, int] = &mut self.0;
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
        }
    }

    impl Reload {
        /// Until it is asked for, once more.
        pub async fn asked(&mut self) {
            self.0.recv().await;
        }
    }
}

#[cfg(windows)]
mod system {
    use tokio::signal::windows::{CtrlBreak, CtrlC, CtrlClose, ctrl_break, ctrl_c, ctrl_close};

    /// What asks to stop.
    #[derive(Debug)]
    pub struct Stop(CtrlC, CtrlBreak, CtrlClose);
    /// What asks to read keys and certificates again; Windows has nothing of the kind.
    #[derive(Debug)]
    pub struct Reload;

    pub(super) fn watch() -> std::io::Result<(Stop, Reload)> {
        Ok((Stop(ctrl_c()?, ctrl_break()?, ctrl_close()?), Reload))
    }

    impl Stop {
        /// Until it is asked for, once more.
        pub async fn asked(&mut self) {
            tokio::select! {
                _ = self.0.recv() => {}
                _ = self.1.recv() => {}
                _ = self.2.recv() => {}
            }
        }
    }

    impl Reload {
        /// Until it is asked for, once more.
        pub async fn asked(&mut self) {
            std::future::pending().await
        }
    }
}
