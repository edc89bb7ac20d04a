//! Every format decodes as an implementation that is not ours says (scripts/quant_vectors.py made the files).
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use tokki_quant::dtype::DType;
use tokki_quant::matrix::Matrix;

const WEIGHTS: usize = 512;

#[test]
fn decoded_rows_match_the_stored_vectors() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    for &dtype in DType::ALL {
        let file = std::fs::read(folder.join(format!("{}.bin", dtype.name().to_lowercase()))).unwrap();
        let (row, values) = file.split_at(dtype.row_bytes(WEIGHTS).unwrap());
        let mut decoded = [0f32; WEIGHTS];
        Matrix::new(dtype, 1, WEIGHTS, row).unwrap().decode_row(0, &mut decoded);
        assert_eq!(values.len(), 4 * WEIGHTS, "{dtype}");
        for (i, (value, found)) in values.as_chunks().0.iter().zip(decoded).enumerate() {
            let wanted = f32::from_le_bytes(*value);
            assert!(
                wanted.to_bits() == found.to_bits() || wanted.is_nan() && found.is_nan(),
                "{dtype}: weight {i}: wanted {wanted:e}, found {found:e}"
            );
        }
    }
}
