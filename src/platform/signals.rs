//! What asks a server to stop or to read its keys again, as each system says it. Made within a runtime of tokio.

use crate::{Error, Result};

/// What asks to stop: SIGTERM and SIGINT, or Ctrl-C, Ctrl-Break and a console that is closed.
pub struct Stop(system::Stop);

/// What asks to read keys and certificates again: SIGHUP; Windows has nothing of the kind.
pub struct Reload(system::Reload);

/// Watches for both from now on.
///
/// # Errors
/// [`Error::Failed`] where the system refuses.
pub fn watch() -> Result<(Stop, Reload)> {
    let (stop, reload) = system::watch().map_err(|why| Error::failed("signals", why.to_string()))?;
    Ok((Stop(stop), Reload(reload)))
}

impl Stop {
    /// Until it is asked for, once more.
    pub async fn asked(&mut self) {
        self.0.asked().await;
    }
}

impl Reload {
    /// Until it is asked for, once more.
    pub async fn asked(&mut self) {
        self.0.asked().await;
    }
}

#[cfg(unix)]
mod system {
    use tokio::signal::unix::{Signal, SignalKind, signal};

    pub(super) struct Stop([Signal; 2]);
    pub(super) struct Reload(Signal);

    pub(super) fn watch() -> std::io::Result<(Stop, Reload)> {
        let stop = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
        Ok((Stop(stop), Reload(signal(SignalKind::hangup())?)))
    }

    impl Stop {
        pub(super) async fn asked(&mut self) {
            let [term, int] = &mut self.0;
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
        }
    }

    impl Reload {
        pub(super) async fn asked(&mut self) {
            self.0.recv().await;
        }
    }
}

#[cfg(windows)]
mod system {
    use tokio::signal::windows::{CtrlBreak, CtrlC, CtrlClose, ctrl_break, ctrl_c, ctrl_close};

    pub(super) struct Stop(CtrlC, CtrlBreak, CtrlClose);
    pub(super) struct Reload;

    pub(super) fn watch() -> std::io::Result<(Stop, Reload)> {
        Ok((Stop(ctrl_c()?, ctrl_break()?, ctrl_close()?), Reload))
    }

    impl Stop {
        pub(super) async fn asked(&mut self) {
            tokio::select! {
                _ = self.0.recv() => {}
                _ = self.1.recv() => {}
                _ = self.2.recv() => {}
            }
        }
    }

    impl Reload {
        pub(super) async fn asked(&mut self) {
            std::future::pending().await
        }
    }
}
