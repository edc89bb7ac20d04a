//! What a unit of tiles does, in portable code: the operations as Intel's manual (Software Developer's Manual, volume 2:
//! LDTILECFG, TILELOADD, TILESTORED, TILEZERO, TDPBSSD and its siblings) defines them. What the unit refuses with a fault
//! is refused here with a panic.

use super::{TILE_ROWS, TileConfig, TileMemory, TileUnit};

/// Bytes of a row, at most.
const ROW: usize = 64;

/// A tile: what its shape does not reach is zero.
#[derive(Clone, Copy)]
struct Register {
    rows: usize,
    row_bytes: usize,
    bytes: [[u8; ROW]; TILE_ROWS],
}

/// Eight tiles.
pub(in crate::isa) struct EmulatedTiles([Register; 8]);

impl EmulatedTiles {
    /// # Panics
    /// Where `ldtilecfg` raises a fault, or leaves the tiles unconfigured.
    pub(in crate::isa) fn new(config: &TileConfig) -> Self {
        let &TileConfig { palette, start_row, reserved, row_bytes, rows } = config;
        assert!(palette == 1, "palette {palette}");
        assert!(start_row == 0, "an operation that was interrupted in row {start_row}");
        assert!(reserved == [0; 14] && row_bytes[8..] == [0; 8] && rows[8..] == [0; 8], "reserved bytes are zero");
        Self(std::array::from_fn(|t| {
            let (rows, row_bytes) = (usize::from(rows[t]), usize::from(row_bytes[t]));
            assert!(rows <= TILE_ROWS && row_bytes <= ROW, "tile {t} of {rows} rows of {row_bytes} bytes");
            assert!((rows == 0) == (row_bytes == 0), "tile {t} of {rows} rows of {row_bytes} bytes");
            Register { rows, row_bytes, bytes: [[0; ROW]; TILE_ROWS] }
        }))
    }

    /// A tile that is there.
    fn tile(&mut self, t: u8) -> &mut Register {
        let tile = &mut self.0[usize::from(t)];
        assert!(tile.rows > 0, "tile {t} is not configured");
        tile
    }

    /// TDPBSSD, TDPBSUD, TDPBUSD, TDPBUUD: `signed` says it of the bytes of `a` and of `b`.
    fn multiply(&mut self, c: u8, a: u8, b: u8, signed: [bool; 2]) {
        assert!(c != a && a != b && b != c, "tiles {c}, {a} and {b} are three");
        let [mut sums, x, y] = [c, a, b].map(|t| *self.tile(t));
        assert!([&sums, &x, &y].iter().all(|tile| tile.row_bytes.is_multiple_of(4)), "rows of whole words");
        let fits = sums.rows == x.rows && x.row_bytes / 4 == y.rows && sums.row_bytes == y.row_bytes;
        assert!(fits, "the shapes of tiles {c}, {a} and {b}");
        let number = |byte: u8, signed: bool| if signed { i32::from(byte as i8) } else { i32::from(byte) };
        for m in 0..sums.rows {
            let (words, _) = sums.bytes[m].as_chunks_mut::<4>();
            for k in 0..x.row_bytes / 4 {
                let of_x = [0, 1, 2, 3].map(|i| number(x.bytes[m][4 * k + i], signed[0]));
                for (word, bytes) in words.iter_mut().zip(y.bytes[k].as_chunks::<4>().0) {
                    let products = bytes.iter().zip(of_x).map(|(&byte, x)| x * number(byte, signed[1]));
                    *word = i32::from_le_bytes(*word).wrapping_add(products.sum()).to_le_bytes();
                }
            }
        }
        *self.tile(c) = sums;
    }
}

impl TileUnit for EmulatedTiles {
    fn zero<const T: u8>(&mut self) {
        self.tile(T).bytes = [[0; ROW]; TILE_ROWS];
    }

    fn load<const T: u8>(&mut self, from: &TileMemory) {
        let tile = self.tile(T);
        tile.bytes = [[0; ROW]; TILE_ROWS];
        for (row, words) in tile.bytes.iter_mut().zip(from.0).take(tile.rows) {
            let bytes = words.map(u32::to_le_bytes);
            row[..tile.row_bytes].copy_from_slice(&bytes.as_flattened()[..tile.row_bytes]);
        }
    }

    fn store<const T: u8>(&mut self, to: &mut TileMemory) {
        let tile = self.tile(T);
        for (row, words) in tile.bytes.iter().zip(&mut to.0).take(tile.rows) {
            for (word, bytes) in words.iter_mut().zip(row.as_chunks().0).take(tile.row_bytes / 4) {
                *word = u32::from_le_bytes(*bytes);
            }
        }
    }

    fn add_product<const C: u8, const A: u8, const B: u8, const SIGNED: bool>(&mut self) {
        self.multiply(C, A, B, [true, SIGNED]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;
    use crate::isa::dispatch::{with_emulated_tiles, with_tiles};
    use crate::isa::simd::Words;
    use crate::isa::tiles::TileKernel;
    use crate::testing::Rng;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn bytes(tile: &TileMemory) -> [[u8; ROW]; TILE_ROWS] {
        tile.0.map(|row| std::array::from_fn(|i| row[i / 4].to_le_bytes()[i % 4]))
    }

    /// Tiles of random bytes; the first are all of the extremes.
    fn random(rng: &mut Rng, round: usize) -> [TileMemory; 3] {
        let extreme = [0x8080_8080, 0x7f7f_7f7f, u32::MAX].get(round);
        [0, 1, 2].map(|_| TileMemory([0; 16].map(|_| [0; 16].map(|_| *extreme.unwrap_or(&(rng.bits() as u32))))))
    }

    /// What the sums should be, straight from the definition of a product of matrices.
    fn wanted([c, a, b]: &[TileMemory; 3], signed: [bool; 2]) -> TileMemory {
        let (a, b) = (bytes(a), bytes(b));
        let number = |byte: u8, signed: bool| i64::from(byte) - if signed && byte > 127 { 256 } else { 0 };
        let dot = |m: usize, n: usize| -> i64 {
            (0..ROW).map(|i| number(a[m][i], signed[0]) * number(b[i / 4][4 * n + i % 4], signed[1])).sum()
        };
        let sum = |m: usize, n: usize| c.0[m][n].wrapping_add(dot(m, n) as u32);
        TileMemory(std::array::from_fn(|m| std::array::from_fn(|n| sum(m, n))))
    }

    #[test]
    fn products_are_those_of_matrices_whatever_the_signs() {
        let mut rng = Rng(1);
        for round in 0..20 {
            let tiles = random(&mut rng, round);
            for signed in [[true, true], [true, false], [false, true], [false, false]] {
                let mut unit = EmulatedTiles::new(&TileConfig::WHOLE);
                unit.load::<7>(&tiles[0]);
                unit.load::<0>(&tiles[1]);
                unit.load::<3>(&tiles[2]);
                unit.multiply(7, 0, 3, signed);
                let mut found = TileMemory::ZERO;
                unit.store::<7>(&mut found);
                assert_eq!(found, wanted(&tiles, signed), "{signed:?}");
            }
        }
    }

    /// Every operation that the kernels use: the product of the first tile, with `SIGNED` or not, and once from zero.
    struct Each([TileMemory; 3]);

    impl TileKernel for Each {
        type Out = [TileMemory; 3];

        fn run<S: Words, U: TileUnit>(self, _s: S, unit: &mut U) -> Self::Out {
            let mut out = [TileMemory::ZERO; 3];
            unit.load::<4>(&self.0[0]);
            unit.load::<5>(&self.0[0]);
            unit.load::<0>(&self.0[1]);
            unit.load::<2>(&self.0[2]);
            unit.load::<6>(&self.0[2]);
            unit.add_product::<4, 0, 2, false>();
            unit.add_product::<5, 0, 2, true>();
            unit.zero::<6>();
            unit.add_product::<6, 0, 2, true>();
            unit.store::<4>(&mut out[0]);
            unit.store::<5>(&mut out[1]);
            unit.store::<6>(&mut out[2]);
            out
        }
    }

    #[test]
    fn the_unit_of_this_machine_does_what_the_emulation_does() {
        let mut rng = Rng(2);
        for round in 0..50 {
            let tiles = random(&mut rng, round);
            let from_zero = [TileMemory::ZERO, tiles[1], tiles[2]];
            let wanted =
                [wanted(&tiles, [true, false]), wanted(&tiles, [true, true]), wanted(&from_zero, [true, true])];
            if let Some(found) = with_emulated_tiles(Each(tiles)) {
                assert_eq!(found, wanted);
            }
            for isa in Isa::available() {
                if let Ok(found) = with_tiles(isa, Each(tiles)) {
                    assert_eq!(found, wanted, "{isa:?}");
                }
            }
        }
    }

    fn refused(config: TileConfig, act: impl FnOnce(&mut EmulatedTiles)) -> bool {
        catch_unwind(AssertUnwindSafe(|| act(&mut EmulatedTiles::new(&config)))).is_err()
    }

    #[test]
    fn what_the_unit_faults_at_is_refused() {
        let whole = TileConfig::WHOLE;
        let with = |change: &dyn Fn(&mut TileConfig)| {
            let mut config = whole;
            change(&mut config);
            refused(config, |_| ())
        };
        assert!(!with(&|_| ()));
        assert!(with(&|c| c.palette = 0) && with(&|c| c.palette = 2) && with(&|c| c.start_row = 1));
        assert!(with(&|c| c.rows[3] = 17) && with(&|c| c.row_bytes[3] = 65));
        assert!(with(&|c| c.rows[3] = 0) && with(&|c| c.row_bytes[3] = 0));
        assert!(with(&|c| c.rows[8] = 1) && with(&|c| c.row_bytes[15] = 1) && with(&|c| c.reserved[13] = 1));
        let product = |unit: &mut EmulatedTiles| unit.multiply(0, 1, 2, [true, true]);
        let shaped = |tile: usize, rows: u8, row_bytes: u16| {
            let mut config = whole;
            (config.rows[tile], config.row_bytes[tile]) = (rows, row_bytes);
            refused(config, product)
        };
        assert!(!shaped(3, 0, 0), "tile 3 has no part in it");
        assert!(shaped(0, 0, 0) && shaped(1, 8, 64) && shaped(1, 16, 60) && shaped(2, 15, 64) && shaped(2, 16, 32));
        assert!(shaped(0, 16, 62));
        for [c, a, b] in [[0, 0, 1], [0, 1, 0], [1, 0, 0]] {
            assert!(refused(whole, |unit| unit.multiply(c, a, b, [true, true])));
        }
    }

    #[test]
    fn small_tiles_multiply_what_they_have() {
        let mut config = TileConfig::WHOLE;
        // Three rows of 20 bytes times five rows of 28: three rows of seven sums.
        (config.rows[0], config.rows[1], config.rows[2]) = (3, 3, 5);
        (config.row_bytes[0], config.row_bytes[1], config.row_bytes[2]) = (28, 20, 28);
        let tiles = random(&mut Rng(3), 9);
        let mut unit = EmulatedTiles::new(&config);
        unit.load::<1>(&tiles[1]);
        unit.load::<2>(&tiles[2]);
        unit.multiply(0, 1, 2, [true, true]);
        let mut found = TileMemory([[7; 16]; 16]);
        unit.store::<0>(&mut found);
        let mut cut = [TileMemory::ZERO, tiles[1], tiles[2]];
        cut[2].0[5..].fill([0; 16]);
        let wanted = wanted(&cut, [true, true]);
        for (m, row) in found.0.iter().enumerate() {
            for (n, &sum) in row.iter().enumerate() {
                assert_eq!(sum, if m < 3 && n < 7 { wanted.0[m][n] } else { 7 }, "{m} {n}");
            }
        }
    }
}
