#![allow(clippy::unwrap_used, reason = "tests")]
//! Against softmax attention in f64, on every instruction set, with the same bits on each and however work is split.

use std::ops::Range;

use super::*;
use crate::half_float;
use crate::isa::Isa;
use crate::testing::{Rng, chosen_isa};

/// A cache of some tiles and what was put in.
struct Case {
    layout: KvLayout,
    tiles: Vec<Vec<u8>>,
    /// Per position; empty where nothing was stored.
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
    /// Query rows and, for each, the positions that it sees.
    rows: Vec<Vec<f32>>,
    visible: Vec<Range<usize>>,
    scale: f32,
    softcap: Option<f32>,
}

impl Case {
    /// `tiles` tiles that are filled up to `filled`; the rest is noise that must not matter.
    fn new(random: &mut Rng, layout: KvLayout, tiles: usize, filled: usize, n_rows: usize) -> Self {
        let isa = Isa::SCALAR;
        let mut case = Self {
            layout,
            tiles: vec![vec![0xff; layout.tile_bytes()]; tiles],
            keys: Vec::new(),
            values: Vec::new(),
            rows: (0..n_rows).map(|_| random.values(layout.k_dim, 3.0)).collect(),
            visible: Vec::new(),
            scale: 1.0 / (layout.k_dim as f32).sqrt(),
            softcap: None,
        };
        for position in 0..filled {
            let key = random.values(layout.k_dim, 2.0);
            let value = if layout.v_in_k { key[..layout.v_dim].to_vec() } else { random.values(layout.v_dim, 1.5) };
            layout.store(isa, &mut case.tiles[position / TILE], position % TILE, &key, &value);
            case.keys.push(key);
            case.values.push(value);
        }
        case.visible = (0..n_rows)
            .map(|row| match row % 4 {
                0 => 0..filled,
                1 => 0..filled - row.min(filled),
                _ => {
                    let (a, b) = (random.below(filled + 1), random.below(filled + 1));
                    a.min(b)..a.max(b)
                }
            })
            .collect();
        case
    }

    /// The slots of a tile that each of `rows` sees.
    fn slots(&self, tile: usize, rows: Range<usize>) -> Vec<Range<u32>> {
        let clip = |at: usize| at.clamp(tile * TILE, (tile + 1) * TILE) - tile * TILE;
        self.visible[rows].iter().map(|seen| clip(seen.start) as u32..clip(seen.end) as u32).collect()
    }

    /// The results of `rows`, attended to together.
    fn attend(&self, isa: Isa, rows: Range<usize>) -> Vec<Vec<f32>> {
        let flat: Vec<f32> = self.rows[rows.clone()].concat();
        let queries = Queries::prepare(isa, &self.layout, &flat, rows.len(), self.scale);
        let (mut all, mut one) = (Partial::new(), Partial::new());
        all.reset(rows.len(), self.layout.v_dim);
        for (index, tile) in self.tiles.iter().enumerate() {
            let slots = self.slots(index, rows.clone());
            attend_tile(isa, &self.layout, TileBytes::alone(tile), &queries, &slots, self.softcap, &mut one);
            all.merge(isa, &one);
        }
        let mut out = vec![vec![0.0; self.layout.v_dim]; rows.len()];
        for (row, out) in out.iter_mut().enumerate() {
            all.finish(isa, row, None, out);
        }
        out
    }

    /// The exact result of a row, from what the cache holds of the keys, values and query.
    fn exact(&self, row: usize, sink: Option<f64>) -> Vec<f64> {
        let kind = self.layout.kind;
        let query = held(kind, &self.rows[row], true);
        let scores: Vec<f64> = self.visible[row]
            .clone()
            .map(|at| {
                let dot: f64 = held(kind, &self.keys[at], false).iter().zip(&query).map(|(k, q)| k * q).sum();
                let score = dot * f64::from(self.scale);
                self.softcap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh())
            })
            .collect();
        let max = scores.iter().copied().chain(sink).fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = scores.iter().copied().chain(sink).map(|s| (s - max).exp()).sum();
        let mut out = vec![0.0; self.layout.v_dim];
        for (at, score) in self.visible[row].clone().zip(&scores) {
            let value = held(kind, if self.layout.v_in_k { &self.keys[at] } else { &self.values[at] }, false);
            for (out, v) in out.iter_mut().zip(value) {
                *out += (score - max).exp() / total * v;
            }
        }
        out
    }
}

/// What is left of `x` in a cache or, for a query, beside one.
fn held(kind: KvKind, x: &[f32], query: bool) -> Vec<f64> {
    let half = |x: f32| half_float::to_f32(half_float::from_f32(x));
    match kind {
        KvKind::F32 => x.iter().copied().map(f64::from).collect(),
        KvKind::F16 => x.iter().map(|&x| f64::from(if query { x } else { half(x) })).collect(),
        KvKind::Q8 => x
            .chunks(BLOCK)
            .flat_map(|block| {
                let largest = block.iter().fold(0.0, |max: f32, x| max.max(x.abs()));
                let scale = if query { largest / 127.0 } else { half(largest / 127.0) };
                let inverse = if query { 127.0 / largest } else { 1.0 / scale };
                block.iter().map(move |x| f64::from((x * inverse).round_ties_even()) * f64::from(scale))
            })
            .collect(),
    }
}

fn layouts() -> impl Iterator<Item = KvLayout> {
    let dims = [64, 80, 96, 128, 256, 1, 5, 17, 31, 33, 50, 113].map(|dim| (dim, dim, false));
    let more = [(576, 512, true), (192, 128, false), (40, 24, true), (70, 67, true), (100, 33, true)];
    KvKind::NAMES.iter().copied().flat_map(move |(kind, _)| {
        dims.into_iter().chain(more).map(move |(k_dim, v_dim, v_in_k)| KvLayout { kind, k_dim, v_dim, v_in_k })
    })
}

#[track_caller]
fn assert_bits(got: &[f32], want: &[f32], what: &str) {
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(got.to_bits() == want.to_bits(), "{what}, value {i}: {got:e}, wanted {want:e}");
    }
}

#[track_caller]
fn assert_close(got: &[f32], want: &[f64], what: &str) {
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        assert!((f64::from(got) - want).abs() < 2e-5, "{what}, value {i}: {got}, wanted {want}");
    }
}

#[test]
fn every_layout_on_every_instruction_set() {
    let mut random = Rng(77);
    for (index, layout) in layouts().enumerate() {
        let n_rows = [1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 17][index % 11];
        let filled = [1, 7, 16, 64, 100, 128, 129, 200, 300][index % 9];
        let mut case = Case::new(&mut random, layout, 3, filled, n_rows);
        case.softcap = (index % 3 == 1).then_some(5.0);
        let what = format!("{layout:?}, {n_rows} rows, {filled} keys");
        let scalar = case.attend(Isa::SCALAR, 0..n_rows);
        for (row, got) in scalar.iter().enumerate() {
            assert_close(got, &case.exact(row, None), &format!("{what}, row {row}"));
        }
        for isa in Isa::available() {
            let together = case.attend(isa, 0..n_rows);
            for row in 0..n_rows {
                assert_bits(&together[row], &scalar[row], &format!("{what}, row {row} on {}", isa.name()));
                let alone = case.attend(isa, row..row + 1);
                assert_bits(&alone[0], &scalar[row], &format!("{what}, row {row} alone on {}", isa.name()));
            }
        }
    }
}

#[test]
fn every_group_size_of_common_heads() {
    let mut random = Rng(5);
    for &(kind, _) in KvKind::NAMES {
        let layout = KvLayout { kind, k_dim: 128, v_dim: 128, v_in_k: false };
        for n_rows in 1..=20 {
            let mut case = Case::new(&mut random, layout, 1, 111, n_rows);
            case.visible = vec![3..111; n_rows];
            let want = case.attend(Isa::SCALAR, 0..n_rows);
            for isa in Isa::available() {
                let got = case.attend(isa, 0..n_rows);
                for row in 0..n_rows {
                    let what = format!("{kind:?}, row {row} of {n_rows} on {}", isa.name());
                    assert_bits(&got[row], &want[row], &what);
                    assert_close(&got[row], &case.exact(row, None), &what);
                }
            }
        }
    }
}

#[test]
fn stored_bytes_are_the_same_on_every_instruction_set() {
    let mut random = Rng(9);
    for layout in layouts() {
        let mut keys = random.values(layout.k_dim, 4.0);
        let mut values = random.values(layout.v_dim, 1e-7);
        for special in [f32::NAN, f32::INFINITY, 1e30, -1e30, 1e-42, 70_000.0] {
            keys[random.below(layout.k_dim)] = special;
            values[random.below(layout.v_dim)] = -special;
            let tiles: Vec<Vec<u8>> = Isa::available()
                .into_iter()
                .map(|isa| {
                    let mut tile = vec![7; layout.tile_bytes()];
                    layout.store(isa, &mut tile, 77, &keys, &values);
                    tile
                })
                .collect();
            for (tile, isa) in tiles.iter().zip(Isa::available()) {
                // The bits of a NaN may differ.
                let same = tile == &tiles[0] || layout.kind != KvKind::Q8;
                assert!(same, "{layout:?} on {}", isa.name());
            }
        }
    }
}

#[test]
fn a_sink_takes_weight_and_gives_nothing() {
    let mut random = Rng(3);
    let layout = KvLayout { kind: KvKind::F32, k_dim: 64, v_dim: 64, v_in_k: false };
    let case = Case::new(&mut random, layout, 1, 40, 1);
    for sink in [-30.0, 0.5, 2.0, 60.0] {
        for isa in Isa::available() {
            let queries = Queries::prepare(isa, &layout, &case.rows[0], 1, case.scale);
            let mut partial = Partial::new();
            attend_tile(
                isa,
                &layout,
                TileBytes::alone(&case.tiles[0]),
                &queries,
                &case.slots(0, 0..1),
                None,
                &mut partial,
            );
            let mut out = [0.0; 64];
            partial.finish(isa, 0, Some(sink), &mut out);
            assert_close(&out, &case.exact(0, Some(f64::from(sink))), "sink");
        }
    }
}

#[test]
fn a_row_that_sees_nothing_is_neutral() {
    let mut random = Rng(4);
    let layout = KvLayout { kind: KvKind::Q8, k_dim: 64, v_dim: 64, v_in_k: false };
    let case = Case::new(&mut random, layout, 1, 40, 1);
    let isa = chosen_isa().unwrap();
    let queries = Queries::prepare(isa, &layout, &case.rows[0], 1, case.scale);
    let (mut empty, mut full) = (Partial::new(), Partial::new());
    attend_tile(
        isa,
        &layout,
        TileBytes::alone(&case.tiles[0]),
        &queries,
        std::slice::from_ref(&(5..5)),
        None,
        &mut empty,
    );
    assert_eq!((empty.max()[0], empty.sum()[0]), (f32::NEG_INFINITY, 0.0));
    let mut out = [1.0; 64];
    empty.finish(isa, 0, None, &mut out);
    assert_eq!(out, [0.0; 64]);
    attend_tile(
        isa,
        &layout,
        TileBytes::alone(&case.tiles[0]),
        &queries,
        std::slice::from_ref(&(0..40)),
        None,
        &mut full,
    );
    let (mut before, mut after) = (empty.clone(), full.clone());
    before.merge(isa, &full);
    after.merge(isa, &empty);
    for merged in [before, after] {
        assert_eq!((merged.max(), merged.sum(), merged.values(0)), (full.max(), full.sum(), full.values(0)));
    }
}

#[test]
fn quantized_scores_stay_close_to_the_unquantized() {
    let mut random = Rng(21);
    let layout = KvLayout { kind: KvKind::Q8, k_dim: 128, v_dim: 128, v_in_k: false };
    let mut case = Case::new(&mut random, layout, 1, 128, 4);
    case.layout.kind = KvKind::F32;
    let exact: Vec<Vec<f64>> = (0..4).map(|row| case.exact(row, None)).collect();
    case.layout.kind = KvKind::Q8;
    let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
    for (row, got) in case.attend(chosen_isa().unwrap(), 0..4).iter().enumerate().filter(|(row, _)| *row < 2) {
        let error: Vec<f64> = got.iter().zip(&exact[row]).map(|(&got, want)| f64::from(got) - want).collect();
        assert!(norm(&error) < 0.02 * norm(&exact[row]), "{} of {}", norm(&error), norm(&exact[row]));
    }
}

#[test]
fn names_round_trip() {
    for &(kind, name) in KvKind::NAMES {
        assert_eq!((kind.name(), KvKind::by_name(name)), (name, Some(kind)));
    }
}

#[test]
fn keys_come_back_out_of_a_tile() {
    let mut random = Rng(11);
    for (kind, limit) in [(KvKind::F32, 0.0), (KvKind::F16, 1e-3), (KvKind::Q8, 1e-2)] {
        for k_dim in [40, 80, 576] {
            let layout = KvLayout { kind, k_dim, v_dim: 32, v_in_k: true };
            let case = Case::new(&mut random, layout, 1, TILE, 1);
            let mut key = vec![f32::NAN; k_dim];
            for (slot, wanted) in case.keys.iter().enumerate() {
                layout.load_key(&case.tiles[0], slot, &mut key);
                let off = key.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(off <= limit, "{} key {slot} of {k_dim}: off by {off}", kind.name());
            }
        }
    }
}
