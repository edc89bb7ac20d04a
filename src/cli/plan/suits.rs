//! Which models of the catalogue suit this machine.

use super::super::flags::MachineFlags;
use crate::Result;
use crate::cli::{compute::Compute, output, progress};
use crate::machine::Machine;
use crate::predict::{measure, plan};
use crate::store::catalogue::LISTED;
use crate::units::{show_bytes, show_rate};
use serde_json::json;

/// Memory beside the weights that a chat of 8192 tokens takes at most, as a share of the weights, and at least.
const BESIDE: (f64, u64) = (0.25, 500 << 20);
/// The same for one of 2048 tokens with an 8-bit cache.
const BESIDE_LITTLE: (f64, u64) = (0.05, 300 << 20);
/// Slower than this no answer is worth waiting for.
const PLEASANT: f64 = 8.0;
/// Of the speed of memory, what generating reaches.
const REACHED: f64 = 0.8;

/// Says what fits, about how fast it will be, and what to take.
pub(super) fn run(flags: &MachineFlags, as_json: bool) -> Result<()> {
    let pool = Compute::pool(flags)?;
    let free = plan::free_memory(&Machine::read());
    let bar = progress::working("measuring the memory of this machine");
    let bandwidth = measure::read_bandwidth(&pool);
    bar.finish_and_clear();
    output::say_busy(pool.threads(), "beside them answers come more slowly than is said here");
    let with = |size: u64, (share, least): (f64, u64)| size + least.max((size as f64 * share) as u64);
    let fits = |size: u64| with(size, BESIDE) <= free;
    let tight = |size: u64| !fits(size) && with(size, BESIDE_LITTLE) <= free;
    let speed = |read: u64| bandwidth * REACHED / read as f64;
    let best = LISTED
        .iter()
        .filter(|model| model.chats && fits(model.about_size()) && speed(model.about_read()) >= PLEASANT)
        .max_by(|a, b| a.billions.0.total_cmp(&b.billions.0));
    if as_json {
        let row = |model: &crate::store::catalogue::Listed| {
            json!({ "name": model.name, "about_size": model.about_size(), "fits": fits(model.about_size()),
                "tight": tight(model.about_size()), "decode_tok_s": speed(model.about_read()) })
        };
        return output::json(&json!({ "free_bytes": free, "bandwidth": bandwidth,
            "suggested": best.map(|model| model.name), "models": LISTED.iter().map(row).collect::<Vec<_>>() }));
    }
    let row = |model: &crate::store::catalogue::Listed| {
        vec![
            model.name.to_owned(),
            format!("~{}", show_bytes(model.about_size())),
            match model.about_size() {
                size if fits(size) => "yes",
                size if tight(size) => "tight",
                _ => "no",
            }
            .to_owned(),
            match speed(model.about_read()) {
                slow if slow < 3.0 => show_rate(slow),
                speed => format!("{speed:.0}"),
            },
            model.about.to_owned(),
        ]
    };
    let rows: Vec<_> = LISTED.iter().map(row).collect();
    output::result(|out| {
        writeln!(out, "{} of memory free, read at {:.1} GB/s\n", show_bytes(free), bandwidth / 1e9)?;
        output::table(out, output::Paint::stdout(), &["NAME", "SIZE", "FITS", "TOK/S", "WHAT"], &rows)?;
        if LISTED.iter().any(|model| tight(model.about_size())) {
            writeln!(out, "\ntight: with a short context, or an 8-bit cache; tokki plan NAME says which")?;
        }
        match best {
            Some(model) => writeln!(
                out,
                "\nThis machine runs {0} at about {1:.0} tok/s: tokki run {0}",
                model.name,
                speed(model.about_read())
            ),
            None => writeln!(out, "\nNone of these fits well; a small one: tokki run smollm2-135m-instruct"),
        }
    })
}
