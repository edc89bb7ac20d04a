//! How the rows of a fetched model are stored: `--layout`, and what it's worth on this machine.

use super::measurements::Kept;
use super::output::say;
use crate::Result;
use crate::config::Settings;
use crate::gguf::{Gguf, RowLayout};
use crate::machine::{self, Machine};
use crate::predict::layout;
use crate::store::{LayoutChoice, Store};

/// What `--layout` may be.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum LayoutFlag {
    /// Interleaved where a short measurement shows that answers become noticeably faster
    #[default]
    Auto,
    /// As in the file
    Plain,
    /// Rows side by side, sixteen at a time
    Interleaved,
}

/// From this gain on the other layout is worth it.
const MIN_GAIN: f64 = 1.15;
/// Measured gains, by what they hold for.
const GAINS_FILE: &str = "layout.json";
const MAX_GAINS_BYTES: u64 = 1 << 16;

impl LayoutFlag {
    /// The choice for the store; `pays` is asked for a fetched model where the flag is `auto`.
    pub(super) fn choice<'a>(self, pays: &'a dyn Fn(&Gguf) -> Result<bool>) -> LayoutChoice<'a> {
        match self {
            Self::Auto => LayoutChoice::WherePays(pays),
            Self::Plain => LayoutChoice::Always(RowLayout::Plain),
            Self::Interleaved => LayoutChoice::Always(RowLayout::Interleaved),
        }
    }
}

/// Whether interleaved rows pay for this model on this machine, and whether the disk has room for them meanwhile. Says so when
/// they do.
pub(super) fn pays(settings: &Settings, gguf: &Gguf) -> Result<bool> {
    let Some(dtype) = layout::main_format(gguf) else { return Ok(false) };
    let store = Store::of(settings)?;
    let pool = super::compute::Compute::pool_of(settings)?;
    // Products for one token are what is compared.
    let threads = pool.few_threads();
    let key = format!("{dtype}, {}, {threads} threads, {}", pool.isa().name(), Machine::read().cpu);
    let known = Kept::in_store(Some(&store), GAINS_FILE, MAX_GAINS_BYTES);
    let gain = match known.find(&key) {
        Some(gain) => gain,
        None => {
            let Some(gain) = layout::gain(gguf, dtype, &pool)? else { return Ok(false) };
            if machine::busy(threads).is_none() {
                known.keep(key, gain);
            }
            gain
        }
    };
    if gain < MIN_GAIN || !crate::store::has_room(&store.models_dir(), gguf.file_bytes()) {
        return Ok(false);
    }
    say(&format!(
        "tokki: products in {dtype} are {gain:.2} times as fast here with interleaved rows: the model is stored so \
         (--layout plain keeps the file's; tokki export gives the file back)"
    ));
    Ok(true)
}
