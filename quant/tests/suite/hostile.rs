//! Every safe function of the crate, called with arguments that no caller should give: empty, of lengths that do not fit,
//! starting anywhere, as large as numbers get, not numbers at all. Each returns, or panics with the words that stand here; on every
//! instruction set alike. Nothing else may happen: under Miri (`scripts/long/miri`) this is what shows it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokki_quant::activation::{ActKind, ActKinds, Activations, sum_slot};
use tokki_quant::attention::{KvKind, KvLayout, Partial, Queries, TILE, TileBytes, attend_tile, attend_tile_biased};
use tokki_quant::dtype::DType;
use tokki_quant::isa::Isa;
use tokki_quant::matmul::{matmul, matmul_cols};
use tokki_quant::matrix::{Matrix, interleave, restore};
use tokki_quant::recurrent::{DeltaStep, WkvStep};
use tokki_quant::share::{Chunks, OutTiles, Tile};
use tokki_quant::team::Team;
use tokki_quant::{ceiling, gates, norms, ops, random, recurrent};

const MAX: usize = usize::MAX;
const ALL: ActKinds = ActKinds::none().with(ActKind::F32).with(ActKind::Block32).with(ActKind::Block256);

/// The call returns.
const FINE: &str = "";

/// Runs `call` on every instruction set: it returns if `words` is [`FINE`], else it panics with these words.
fn case(name: &str, words: &str, call: impl Fn(Isa)) {
    for isa in Isa::available() {
        let told = catch_unwind(AssertUnwindSafe(|| call(isa))).err().map(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned())).unwrap_or_default()
        });
        match told {
            None => assert!(words.is_empty(), "{name} on {}: no panic with {words:?}", isa.name()),
            Some(told) => {
                assert!(!words.is_empty() && told.contains(words), "{name} on {}: {told:?}, not {words:?}", isa.name());
            }
        }
    }
}

/// What comes of a call is of no interest.
fn done<T>(_: T) {}

/// Numbers and what is none, from wherever in memory.
fn odd(len: usize) -> Vec<f32> {
    let values = [1.0, f32::NAN, -f32::INFINITY, 1e-45, -0.0, f32::MAX, -3.5, f32::INFINITY, f32::MIN_POSITIVE];
    values.iter().cycle().copied().take(len).collect()
}

const LENGTHS: &[usize] = &[0, 1, 15, 16, 17, 31, 33, 64];

#[test]
fn functions_of_one_slice_take_any_values_from_anywhere() {
    type One = (&'static str, fn(Isa, &mut [f32]));
    let functions: &[One] = &[
        ("softmax", ops::softmax),
        ("scale", |isa, x| ops::scale(isa, x, f32::NAN)),
        ("softcap", |isa, x| ops::softcap(isa, x, 0.0)),
        ("softcap of nothing", |isa, x| ops::softcap(isa, x, f32::NAN)),
        ("sigmoid", ops::sigmoid),
        ("silu", gates::silu),
        ("gelu_tanh", gates::gelu_tanh),
        ("tanh", gates::tanh),
        ("relu", gates::relu),
        ("relu_squared", gates::relu_squared),
        ("exp", gates::exp),
        ("clamp", |isa, x| gates::clamp(isa, x, -1.0)),
        ("clamp to nothing", |isa, x| gates::clamp(isa, x, f32::NAN)),
        ("cap", |isa, x| gates::cap(isa, x, f32::NAN)),
        ("xielu", |isa, x| gates::xielu(isa, x, (f32::INFINITY, f32::NAN, 0.0, -1.0))),
        ("unit_in_place", |isa, x| norms::unit_in_place(isa, x, -1.0)),
    ];
    for (name, function) in functions {
        for &len in LENGTHS {
            for from in 0..2 {
                case(name, FINE, |isa| function(isa, &mut odd(from + len)[from..]));
            }
        }
    }
}

#[test]
fn functions_of_two_slices_want_equal_lengths() {
    type Two = (&'static str, fn(Isa, &mut [f32], &[f32]));
    let functions: &[Two] = &[
        ("silu_mul", ops::silu_mul),
        ("gelu_tanh_mul", ops::gelu_tanh_mul),
        ("clamped_swiglu_mul", |isa, x, y| ops::clamped_swiglu_mul(isa, x, y, f32::NAN, -1.0)),
        ("add", ops::add),
        ("add_scaled", |isa, x, y| ops::add_scaled(isa, x, y, f32::INFINITY)),
        ("dot", |isa, x, y| done(ops::dot(isa, x, y))),
        ("mul", gates::mul),
        ("mul_clamped", |isa, x, y| gates::mul_clamped(isa, x, y, f32::NAN)),
        ("mul_sigmoid", gates::mul_sigmoid),
        ("mul_silu", gates::mul_silu),
        ("rms_norm_in_place", |isa, x, y| ops::rms_norm_in_place(isa, x, y, -1.0)),
        ("layer_norm_in_place", |isa, x, y| norms::layer_norm_in_place(isa, x, y, None, f32::NAN)),
        ("the bias of layer_norm_in_place", |isa, x, y| {
            norms::layer_norm_in_place(isa, x, &vec![1.0; x.len()], Some(y), 0.0);
        }),
        ("rms_norm", |isa, x, y| ops::rms_norm(isa, y, y, 0.0, x)),
        ("the weights of rms_norm", |isa, x, y| {
            let input = x.to_vec();
            ops::rms_norm(isa, &input, y, 0.0, x);
        }),
        ("f16_to_f32", |isa, x, y| ops::f16_to_f32(isa, &vec![0xfe01; y.len()], x)),
        ("f32_to_f16", |isa, x, y| ops::f32_to_f16(isa, x, &mut vec![0; y.len()])),
    ];
    for (name, function) in functions {
        for &len in LENGTHS {
            case(name, FINE, |isa| function(isa, &mut odd(len + 1)[1..], &odd(len)));
            for other in [len + 1, len + 16, 0] {
                let words = if other == len { FINE } else { "left == right" };
                case(name, words, |isa| function(isa, &mut odd(len), &odd(other)));
            }
        }
    }
}

#[test]
fn rotations() {
    for halves in [false, true] {
        for &n in LENGTHS {
            case("rope", FINE, |isa| ops::rope(isa, &mut odd(2 * n + 1)[1..], &odd(n), &odd(n), halves));
            case("rope, more values", FINE, |isa| ops::rope(isa, &mut odd(2 * n + 5), &odd(n), &odd(n), halves));
            case("rope, sines", "rope: cos, sin", |isa| ops::rope(isa, &mut odd(200), &odd(n), &odd(n + 1), halves));
        }
        case("rope, a short head", "out of range", |isa| ops::rope(isa, &mut odd(3), &odd(2), &odd(2), halves));
    }
}

#[test]
fn matrices_of_any_shape_are_made_or_refused() {
    for &dtype in DType::ALL {
        let block = dtype.block_len();
        let huge = MAX / block * block;
        for (rows, cols, len) in
            [(MAX, block, 0), (1, huge, 0), (MAX, huge, 64), (huge, huge, 0), (1, block, dtype.block_bytes() + 1)]
        {
            case("Matrix", FINE, |_| assert!(Matrix::new(dtype, rows, cols, &vec![0; len]).is_err()));
            case("interleaved", FINE, |_| assert!(Matrix::interleaved(dtype, rows, cols, &vec![0; len]).is_err()));
        }
        if block > 1 {
            case("a part of a block", FINE, |_| assert!(Matrix::new(dtype, 1, block + 1, &[0; 4096]).is_err()));
        }
        case("row_bytes", FINE, |_| done((dtype.row_bytes(MAX), dtype.row_bytes(huge), dtype.row_bytes(0))));
        // Rows of no weights: as many as one likes.
        case("rows of nothing", FINE, |_| {
            for matrix in [Matrix::new(dtype, MAX, 0, &[]).unwrap(), Matrix::interleaved(dtype, MAX, 0, &[]).unwrap()] {
                matrix.decode_row(MAX - 1, &mut []);
                assert!(matrix.plain_row(0).is_empty() && format!("{matrix:?}").len() < 200);
                restore(&matrix, &mut []);
            }
            interleave(&Matrix::new(dtype, MAX, 0, &[]).unwrap(), &mut []);
        });
        let bytes = vec![0xa5; 17 * dtype.block_bytes() + 1];
        let of = |from: usize, rows: usize| {
            Matrix::interleaved(dtype, rows, block, &bytes[from..][..bytes.len() - 1]).unwrap()
        };
        case("any row", FINE, |_| (0..17).for_each(|row| of(1, 17).decode_row(row, &mut vec![0.0; block])));
        case("no such row", "row 17", |_| done(of(0, 17).plain_row(17)));
        case("no such row at all", "row", |_| of(0, 17).decode_row(MAX, &mut vec![0.0; block]));
        case("a short row", "the length of a decoded row", |_| of(0, 17).decode_row(0, &mut vec![0.0; block - 1]));
        case("a long row", "the length of a decoded row", |_| of(0, 17).decode_row(0, &mut vec![0.0; block + 1]));
        case("restore", "restore", |_| restore(&of(0, 17), &mut [0; 3]));
        case("interleave", "interleave", |_| {
            interleave(&Matrix::new(dtype, 17, block, &bytes[1..]).unwrap(), &mut [0; 3])
        });
    }
}

#[test]
fn random_blocks() {
    for &dtype in DType::ALL {
        for fill in [0u8, 0x80, 0xff] {
            for size in [0.0, 1e-45, f32::MAX, f32::NAN, f32::INFINITY, -1.0] {
                case("resize", FINE, |_| random::resize(dtype, &mut vec![fill; dtype.block_bytes()], size));
            }
        }
        case("resize", "the length of a block", |_| random::resize(dtype, &mut [], 1.0));
        case("resize", "the length of a block", |_| random::resize(dtype, &mut [0; 4096], 1.0));
    }
}

/// Activations of `n` rows of `k` values in every form that `k` allows.
fn rows(isa: Isa, n: usize, k: usize) -> Activations {
    let mut kinds = ActKinds::none().with(ActKind::F32);
    for (kind, len) in [(ActKind::Block32, 32), (ActKind::Block256, 256)] {
        if k.is_multiple_of(len) {
            kinds = kinds.with(kind);
        }
    }
    let mut acts = Activations::new();
    let writer = acts.reset(kinds, n, k);
    (0..n).for_each(|row| writer.write(isa, row, &odd(k)));
    done(writer);
    acts
}

#[test]
fn products_check_every_shape() {
    let formats = if cfg!(miri) { &[DType::Q4_0, DType::Q4K, DType::F16][..] } else { DType::ALL };
    for &dtype in formats {
        let k = dtype.block_len();
        let bytes = vec![0x3c; 33 * dtype.block_bytes() + 3];
        for layout in [Matrix::new, Matrix::interleaved] {
            let m = || layout(dtype, 33, k, &bytes[3..]).unwrap();
            // Whole, some rows of it, from bytes that start anywhere; one column, a few, many.
            for n in [0, 1, 2, 7, 9, 13] {
                case("a product", FINE, |isa| {
                    let (mut out, x) = (vec![0.0; n * 33], rows(isa, n, k));
                    matmul(isa, &m(), &x, &mut Tile::whole(&mut out, 33));
                    let tiles = OutTiles::new(&mut out, 33, 5);
                    (0..tiles.bands()).rev().for_each(|band| matmul(isa, &m(), &x, &mut tiles.take(band)));
                });
                case("no rows", FINE, |isa| {
                    let (mut out, x) = (vec![0.0; n * 33], rows(isa, n, k));
                    matmul(isa, &m(), &x, &mut Tile::whole(&mut out, 33).narrow(7..7));
                });
                case("another length", "activations for a row", |isa| {
                    matmul(isa, &m(), &rows(isa, n, 2 * k), &mut Tile::whole(&mut vec![0.0; n * 33], 33));
                });
                case("one more column", "rows of activations for the output", |isa| {
                    matmul(isa, &m(), &rows(isa, n + 1, k), &mut Tile::whole(&mut vec![0.0; n * 33], 33));
                });
                case("chosen columns", FINE, |isa| {
                    let (mut out, x) = (vec![0.0; n * 33], rows(isa, 1, k));
                    matmul_cols(isa, &m(), &x, &vec![0; n], &mut Tile::whole(&mut out, 33));
                });
                for bad in [1, u32::MAX] {
                    let words = if n == 0 { FINE } else { "of 1 rows of activations" };
                    case("a column that is not there", words, |isa| {
                        let (mut out, x) = (vec![0.0; n * 33], rows(isa, 1, k));
                        matmul_cols(isa, &m(), &x, &vec![bad; n], &mut Tile::whole(&mut out, 33));
                    });
                }
                case("more columns chosen", "chosen rows of activations for the output", |isa| {
                    matmul_cols(
                        isa,
                        &m(),
                        &rows(isa, 1, k),
                        &vec![0; n + 1],
                        &mut Tile::whole(&mut vec![0.0; n * 33], 33),
                    );
                });
                case("rows past the end", "rows 0..34", |isa| {
                    matmul(isa, &m(), &rows(isa, n, k), &mut Tile::whole(&mut vec![0.0; n * 34], 34));
                });
                if n > 0 {
                    case("another form", "were not written as", |isa| {
                        let mut x = Activations::new();
                        done(x.reset(ActKinds::none(), n, k));
                        matmul(isa, &m(), &x, &mut Tile::whole(&mut vec![0.0; n * 33], 33));
                    });
                }
                // Of rows of no weights every product is zero.
                case("rows of no weights", FINE, |isa| {
                    let (mut out, x) = (vec![1.0; n * 33], rows(isa, n, 0));
                    matmul(isa, &layout(dtype, 33, 0, &[]).unwrap(), &x, &mut Tile::whole(&mut out, 33));
                    assert!(out.iter().all(|&x| x == 0.0), "{dtype}, {n} columns: {out:?}");
                });
            }
            case("as many rows of nothing as can be counted", FINE, |isa| {
                matmul(isa, &layout(dtype, MAX, 0, &[]).unwrap(), &rows(isa, 0, 0), &mut Tile::whole(&mut [], MAX));
            });
        }
    }
}

#[test]
fn activations_check_every_shape() {
    case("too many", "more than memory can hold", |_| done(Activations::new().reset(ALL, MAX, 256)));
    case("too many", "more than memory can hold", |_| done(Activations::new().reset(ActKinds::none(), MAX, MAX)));
    case("wraps to nothing", "more than memory can hold", |_| done(Activations::new().reset(ALL, 256, 1 << 56)));
    case("a part of a block", "blocks of 32", |_| done(Activations::new().reset(ALL, 1, 33)));
    case("a part of a block", "blocks of 256", |_| done(Activations::new().reset(ALL, 1, 32)));
    case("what was refused is not there", "row 0", |isa| {
        let mut acts = rows(isa, 0, 256);
        assert!(catch_unwind(AssertUnwindSafe(|| done(acts.reset(ALL, 5, 33)))).is_err());
        done(acts.row_32(0));
    });
    case("rows of nothing", FINE, |isa| {
        let mut acts = Activations::new();
        acts.reset(ALL, MAX, 0).write(isa, 3, &[]);
        assert!(acts.row_f32(MAX - 1).is_empty() && acts.row_32(7).q.is_empty() && acts.row_256(7).d.is_empty());
    });
    case("a short row", "the length of a row", |isa| Activations::new().reset(ALL, 1, 256).write(isa, 0, &odd(255)));
    case("no such row", "index out of bounds", |isa| Activations::new().reset(ALL, 1, 256).write(isa, 1, &odd(256)));
    case("no such row", "index out of bounds", |isa| Activations::new().reset(ALL, 1, 256).write(isa, MAX, &odd(256)));
    case("nothing yet", "not written", |_| done(Activations::new().row_f32(0).len()));
    for row in [2, MAX / 128, MAX] {
        case("row_f32", "of 2 rows", |isa| done(rows(isa, 2, 256).row_f32(row).len()));
        case("row_32", "of 2 rows", |isa| done(rows(isa, 2, 256).row_32(row).q.len()));
        case("row_256", "of 2 rows", |isa| done(rows(isa, 2, 256).row_256(row).q.len()));
    }
    case("smaller than before", FINE, |isa| {
        let mut acts = rows(isa, 4, 512);
        acts.reset(ALL, 1, 256).write(isa, 0, &odd(256));
        assert_eq!((acts.row_256(0).q.len(), acts.row_256(0).d.len()), (8, 1));
    });
    case("sum_slot", FINE, |_| assert_eq!(sum_slot(MAX), MAX));
}

#[test]
fn parts_are_handed_out_once_and_only_if_there_are_any() {
    case("chunks of nothing", "index out of bounds", |_| done(Chunks::new(&mut [0u8; 0], 0).take(0).len()));
    case("chunks of no length", FINE, |_| {
        let mut values = [1u8, 2, 3];
        let chunks = Chunks::new(&mut values, 0);
        assert_eq!((chunks.count(), chunks.take(2).len()), (3, 1));
    });
    case("one long chunk", FINE, |_| assert_eq!(Chunks::new(&mut [1u8, 2, 3], MAX).take(0).len(), 3));
    case("no such chunk", "index out of bounds", |_| done(Chunks::new(&mut [1u8, 2, 3], MAX).take(MAX).len()));
    case("values without a size", FINE, |_| assert_eq!(Chunks::new(&mut [(); 1000], 7).take(142).len(), 6));
    case("a chunk twice", "handed out twice", |_| {
        let mut values = [1u8, 2, 3];
        let chunks = Chunks::new(&mut values, 2);
        done((chunks.take(1).len(), chunks.take(1).len()));
    });
    case("rows of no length", "in rows of 0", |_| done(OutTiles::new(&mut [0.0; 4], 0, 1).bands()));
    case("a part of a row", "in rows of 3", |_| done(OutTiles::new(&mut [0.0; 4], 3, 1).bands()));
    case("bands of any width", FINE, |_| {
        assert_eq!(OutTiles::new(&mut [0.0; 6], 3, 0).bands(), 3);
        assert_eq!(OutTiles::new(&mut [0.0; 6], 3, MAX).take(0).rows(), 0..3);
    });
    case("no such band", "index out of bounds", |_| done(OutTiles::new(&mut [0.0; 6], 3, 2).take(2).n()));
    case("a band twice", "handed out twice", |_| {
        let mut out = [0.0; 6];
        let tiles = OutTiles::new(&mut out, 3, 2);
        done((tiles.take(1).n(), tiles.take(1).n()));
    });
    case("a tile of no rows", "in rows of 0", |_| done(Tile::whole(&mut [0.0; 4], 0).n()));
    case("a tile of a part", "in rows of 5", |_| done(Tile::whole(&mut [0.0; 4], 5).n()));
    case("a tile of nothing", "token 0 of 0", |_| done(Tile::whole(&mut [], MAX).col(0).len()));
    case("no such token", "token 2 of 2", |_| done(Tile::whole(&mut [0.0; 6], 3).col_mut(2).len()));
    case("no such token at all", "token", |_| done(Tile::whole(&mut [0.0; 6], 3).col(MAX).len()));
    for range in [Range { start: 2, end: 1 }, 0..4, 4..4, MAX - 1..MAX] {
        case("narrower than it is", &format!("{range:?}"), |_| {
            done(Tile::whole(&mut [0.0; 6], 3).narrow(range.clone()).n());
        });
    }
    case("renumbered", FINE, |_| {
        let mut out = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        let tiles = OutTiles::new(&mut out, 3, 2);
        let mut tile = tiles.take(1).renumbered();
        assert_eq!((tile.rows(), tile.col(1)), (0..1, &[5.0][..]));
        assert!(tile.narrow(1..1).col(1).is_empty());
        assert_eq!(Tile::whole(&mut [], MAX).renumbered().rows(), 0..MAX);
    });
}

fn layout(kind: KvKind, k_dim: usize, v_dim: usize, v_in_k: bool) -> KvLayout {
    KvLayout { kind, k_dim, v_dim, v_in_k }
}

#[test]
fn attention_takes_every_length_of_heads() {
    for &(kind, name) in KvKind::NAMES {
        for k_dim in [0, 1, 3, 16, 31, 33, 65] {
            for (v_dim, v_in_k) in
                [(0, false), (1, false), (17, false), (65, false), (0, true), (k_dim, true), (k_dim / 2, true)]
            {
                let l = layout(kind, k_dim, v_dim, v_in_k);
                // Nothing can be said of keys without values.
                let words = if k_dim == 0 { "keys without values" } else { FINE };
                case(&format!("{name}: {l:?}"), words, |isa| {
                    // A tile that starts anywhere.
                    let mut memory = vec![0x5a; l.tile_bytes() + 1];
                    let tile = &mut memory[1..];
                    for slot in [0, 63, 64, TILE - 1] {
                        l.store(isa, tile, slot, &odd(k_dim), &odd(v_dim));
                        l.load_key(tile, slot, &mut vec![0.0; k_dim]);
                        l.load_key(tile, slot, &mut vec![0.0; k_dim / 2]);
                    }
                    for rows in [0, 1, 8, 9] {
                        let q = Queries::prepare(isa, &l, &odd(rows * k_dim), rows, f32::NAN);
                        let [backwards, far] = [(9, 3), (u32::MAX, 0)].map(|(start, end)| Range { start, end });
                        let ranges = [0..128, 5..5, 127..128, backwards, far, 17..90, 0..0, 128..128, 1..2];
                        let mut out = Partial::new();
                        let seen = TileBytes { tile, next: &memory_next(rows) };
                        attend_tile(isa, &l, seen, &q, &ranges[..rows], Some(0.0), &mut out);
                        let bias = odd(rows * TILE);
                        attend_tile_biased(
                            isa,
                            &l,
                            TileBytes::alone(tile),
                            &q,
                            (&ranges[..rows], &bias),
                            None,
                            &mut out,
                        );
                        let mut all = out.clone();
                        all.merge(isa, &out);
                        (0..rows).for_each(|row| all.finish(isa, row, Some(f32::NAN), &mut vec![0.0; v_dim]));
                    }
                });
            }
        }
    }
}

/// Memory that is fetched while a tile is in work.
fn memory_next(len: usize) -> Vec<u8> {
    vec![1; len * 77]
}

#[test]
fn attention_checks_every_shape() {
    for &(kind, _) in KvKind::NAMES {
        let l = layout(kind, 32, 16, false);
        let tile = || vec![0; l.tile_bytes()];
        let q = |isa| Queries::prepare(isa, &l, &odd(64), 2, 1.0);
        let attend = |isa, l: &KvLayout, tile: &[u8], seen: &[Range<u32>], bias: &[f32]| {
            attend_tile_biased(isa, l, TileBytes::alone(tile), &q(isa), (seen, bias), None, &mut Partial::new());
        };
        for wrong in [0, 1, tile().len() - 1, tile().len() + 1] {
            case("a tile of another size", "attend_tile: tile", |isa| {
                attend(isa, &l, &vec![0; wrong], &[0..1, 0..1], &[])
            });
            case("store", "store: tile", |isa| l.store(isa, &mut vec![0; wrong], 0, &odd(32), &odd(16)));
            case("load_key", "load_key: tile", |_| l.load_key(&vec![0; wrong], 0, &mut [0.0; 32]));
        }
        case("a range too few", "attend_tile: ranges", |isa| attend(isa, &l, &tile(), &[0..1, 0..1][1..], &[]));
        case("a range past the tile", "attend_tile: slots", |isa| attend(isa, &l, &tile(), &[0..1, 0..129], &[]));
        case("a bias too short", "attend_tile: bias", |isa| attend(isa, &l, &tile(), &[0..1, 0..1], &odd(TILE)));
        let longer = layout(kind, 64, 16, false);
        case("queries of others", "another layout", |isa| {
            attend(isa, &longer, &vec![0; longer.tile_bytes()], &[0..1, 0..1], &[]);
        });
        for slot in [TILE, MAX] {
            case("store past the tile", "store: slot", |isa| l.store(isa, &mut tile(), slot, &odd(32), &odd(16)));
            case("load past the tile", "load_key: slot", |_| l.load_key(&tile(), slot, &mut []));
        }
        case("a long key", "store: slot", |isa| l.store(isa, &mut tile(), 0, &odd(33), &odd(16)));
        case("a long value", "store: value", |isa| l.store(isa, &mut tile(), 0, &odd(32), &odd(17)));
        case("more of a key than there is", "load_key", |_| l.load_key(&tile(), 0, &mut [0.0; 33]));
        for (k_dim, v_dim) in [(MAX, 1), (1, MAX), (MAX / 2 + 1, 0), (0, 1 << 31)] {
            case("heads of any length", "heads of", |_| done(layout(kind, k_dim, v_dim, false).tile_bytes()));
            case("queries of any length", "", |isa| {
                done(Queries::prepare(isa, &layout(kind, k_dim, v_dim, false), &[], 0, 1.0))
            });
        }
        case("values past the key", "17 values in a key of 16", |_| done(layout(kind, 16, 17, true).tile_bytes()));
        case("as many queries as can be counted", "prepare: rows", |isa| {
            done(Queries::prepare(isa, &l, &[], MAX, 1.0))
        });
        case("a product that wraps", "prepare: rows", |isa| done(Queries::prepare(isa, &l, &[], 1 << 59, 1.0)));
        case("a long row", "set: row", |isa| {
            Queries::new().set(isa, &l, [&odd(33)[..]].into_iter(), 1.0);
        });
        case("more rows than promised", "set: row 0 of 0", |isa| Queries::new().set(isa, &l, Liar(0, &odd(32)), 1.0));
        case("more rows than promised", "set: row 2 of 2", |isa| Queries::new().set(isa, &l, Liar(2, &odd(32)), 1.0));
        case("rows without end", "more than memory", |isa| Queries::new().set(isa, &l, Liar(MAX, &odd(32)), 1.0));
    }
}

/// Says how many rows there are, and gives another number.
struct Liar<'a>(usize, &'a [f32]);

impl<'a> Iterator for Liar<'a> {
    type Item = &'a [f32];
    fn next(&mut self) -> Option<&'a [f32]> {
        Some(self.1)
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0, Some(self.0))
    }
}

impl ExactSizeIterator for Liar<'_> {}

#[test]
fn partials_check_every_shape() {
    let of = |rows, v_dim| {
        let mut partial = Partial::new();
        partial.reset(rows, v_dim);
        partial
    };
    case("too many", "more than memory can hold", |_| done(of(MAX, 1)));
    case("too long", "more than memory can hold", |_| done(of(1, MAX)));
    case("of no rows", FINE, |isa| of(0, 5).merge(isa, &of(0, 5)));
    case("of no values", FINE, |isa| {
        let mut partial = of(3, 0);
        partial.merge(isa, &of(3, 0));
        partial.finish(isa, 2, None, &mut []);
        assert!(partial.values(2).is_empty() && partial.max().len() == 3 && partial.sum().len() == partial.rows());
    });
    case("of others", "merge", |isa| of(2, 5).merge(isa, &of(3, 5)));
    case("of other values", "merge", |isa| of(2, 5).merge(isa, &of(2, 6)));
    for row in [2, MAX / 16 + 1, MAX] {
        case("no such row", "of 2 rows", |_| done(of(2, 5).values(row).len()));
        case("no such row", "of 2 rows", |isa| of(2, 5).finish(isa, row, None, &mut [0.0; 5]));
    }
    case("another length", "finish: out", |isa| of(2, 5).finish(isa, 0, None, &mut [0.0; 6]));
}

#[test]
fn states_check_every_shape() {
    for n in [0, 1, 15, 16, 33] {
        for m in [0, 1, 17] {
            let state = || odd(n * m);
            case("conv_step", FINE, |isa| {
                let tap = odd(n);
                recurrent::conv_step(isa, &vec![&tap[..]; m + 1], &mut state(), &odd(n), &mut odd(n));
            });
            case("scan_head", FINE, |isa| {
                let mut out = odd(m);
                recurrent::scan_head(isa, &mut state(), (0.5, f32::NAN), (&odd(n), &odd(n)), &odd(m), &mut out);
                assert!(n > 0 || out.iter().all(|&y| y == 0.0), "nothing adds up to zero");
            });
            let (k, v) = (odd(n), odd(m));
            let step = DeltaStep { decay: &[f32::NAN], q: &k, k: &k, v: &v, beta: f32::INFINITY };
            case("delta_step", FINE, |isa| recurrent::delta_step(isa, &mut state(), &step, &mut odd(m), &mut odd(m)));
            case("lightning_step", FINE, |isa| {
                recurrent::lightning_step(isa, &mut state(), &step, &mut odd(m), &mut odd(m))
            });
            let step = WkvStep { r: &k, decay: &k, k: &k, v: &v };
            case("wkv6_step", FINE, |isa| recurrent::wkv6_step(isa, &mut state(), &step, &k, &mut odd(m)));
            case("wkv7_step", FINE, |isa| {
                recurrent::wkv7_step(isa, &mut state(), &step, (&k, &k), &mut odd(m), &mut odd(m))
            });
        }
        case("scan_channel", FINE, |isa| {
            done(recurrent::scan_channel(isa, &mut odd(n), &odd(n), (&odd(n), &odd(n)), 1.0, f32::NAN))
        });
        case("scan_channel", "scan_channel", |isa| {
            done(recurrent::scan_channel(isa, &mut odd(n), &odd(n + 1), (&odd(n), &odd(n)), 1.0, 1.0));
        });
    }
    let (a, b) = (odd(4), odd(5));
    case("no taps", "no taps", |isa| recurrent::conv_step(isa, &[], &mut [], &a, &mut odd(4)));
    case("a short tap", "taps", |isa| recurrent::conv_step(isa, &[&a, &b], &mut odd(4), &a, &mut odd(4)));
    case("a short history", "history", |isa| recurrent::conv_step(isa, &[&a, &a], &mut odd(3), &a, &mut odd(4)));
    case("a short output", "history", |isa| recurrent::conv_step(isa, &[&a, &a], &mut odd(4), &a, &mut odd(3)));
    case("a short state", "scan_head", |isa| {
        recurrent::scan_head(isa, &mut odd(19), (1.0, 1.0), (&a, &a), &b, &mut odd(5))
    });
    case("c", "scan_head", |isa| recurrent::scan_head(isa, &mut odd(20), (1.0, 1.0), (&a, &b), &b, &mut odd(5)));
    let step = DeltaStep { decay: &b, q: &a, k: &a, v: &b, beta: 1.0 };
    case("decays", "one decay", |isa| recurrent::delta_step(isa, &mut odd(20), &step, &mut odd(5), &mut odd(5)));
    let step = DeltaStep { decay: &a, ..step };
    case("scratch", "scratch", |isa| recurrent::delta_step(isa, &mut odd(20), &step, &mut odd(4), &mut odd(5)));
    case("state", "a step", |isa| recurrent::lightning_step(isa, &mut odd(19), &step, &mut odd(5), &mut odd(5)));
    let step = WkvStep { r: &a, decay: &a, k: &a, v: &b };
    case("bonus", "bonus", |isa| recurrent::wkv6_step(isa, &mut odd(20), &step, &b, &mut odd(5)));
    case("state", "a step", |isa| recurrent::wkv6_step(isa, &mut odd(21), &step, &a, &mut odd(5)));
    case("rate", "wkv7", |isa| recurrent::wkv7_step(isa, &mut odd(20), &step, (&a, &b), &mut odd(5), &mut odd(5)));
}

#[test]
fn teams_of_any_size() {
    case("a team of nobody", FINE, |_| assert_eq!(Team::new(0).lead(|lead| lead.threads()), 1));
    case("a team of too many", "32767 at most", |_| done(Team::new(1 << 15)));
    case("a team of all numbers", "32767 at most", |_| done(Team::new(MAX)));
    for worker in [0, 2, MAX] {
        case("no such member", "of a team of 2", |_| Team::new(2).serve(worker));
    }
    case("too many chunks", "at most", |_| Team::new(2).lead(|lead| lead.phase(MAX, &|_, _| ())));
    case("no chunks", FINE, |_| Team::new(2).lead(|lead| lead.phase(0, &|_, _| unreachable!("there is none"))));
    case("a phase inside a phase", "a phase inside a phase", |_| {
        Team::new(2).lead(|lead| lead.phase(2, &|_, _| lead.phase(2, &|_, _| ())));
    });
    case("a leader inside a leader", "another thread already", |_| {
        let team = Team::new(2);
        team.lead(|_| team.lead(|_| ()));
    });
}

#[test]
fn names_and_loads() {
    case("by_name", FINE, |_| assert!(Isa::by_name("").is_none() && KvKind::by_name("\0").is_none()));
    case("from_gguf", FINE, |_| assert!(DType::from_gguf(u32::MAX).is_none()));
    case("read", FINE, |isa| done((ceiling::read(isa, &[]), ceiling::read(isa, &vec![1; 1001][1..]))));
    case("multiply", FINE, |isa| done(ceiling::multiply(isa, 0)));
}
