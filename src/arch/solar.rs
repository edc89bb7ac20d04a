//! Solar Pro: the Llama graph with block skip connections.

use super::keys::Keys;
use super::{Pairing, Skip, Spec};
use crate::Result;
use crate::gguf::{DType, Gguf};

/// Weight of the kept stream where the file has none.
const KEPT_WEIGHT: f32 = 0.8;

pub(super) fn solar(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Adjacent)?;
    let layers = spec.layers.len();
    if keys.set_usize("attention.sliding_window")?.is_some() {
        keys.set_windows(&mut spec, &vec![true; layers], 0)?;
    }
    // Lists 0 and 1 keep the stream, lists 2 and 3 blend it in again.
    for list in 0..4 {
        let key = format!("attention.block_skip_connection.{list}");
        let marks = keys.per_layer(&key, layers)?.unwrap_or_default();
        for (layer, _) in spec.layers.iter_mut().zip(marks).filter(|(_, mark)| *mark != 0) {
            let slot = list % 2;
            layer.skips.push(if list < 2 {
                Skip::Save(slot)
            } else {
                Skip::Blend { slot, weight: kept_weight(gguf, layer.block)? }
            });
        }
    }
    Ok(spec)
}

/// The first of the two weights in `bskcn_tv`: one tensor per layer, or one for all.
fn kept_weight(gguf: &Gguf, block: usize) -> Result<f32> {
    let names = [format!("blk.{block}.bskcn_tv.weight"), "bskcn_tv.weight".to_owned()];
    let Some(name) = names.into_iter().find(|name| gguf.tensor(name).is_some()) else { return Ok(KEPT_WEIGHT) };
    let view = gguf.view(&name)?;
    match (view.dtype(), view.bytes().first_chunk()) {
        (DType::F32, Some(bytes)) => Ok(f32::from_le_bytes(*bytes)),
        _ => Ok(KEPT_WEIGHT),
    }
}
