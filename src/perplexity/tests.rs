#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

#[test]
fn windows_follow_each_other_or_stride() {
    let plain = Windows::new(8, None).unwrap();
    assert_eq!((plain.scored, plain.step, plain.first()), (3, 8, 4));
    assert_eq!([7, 8, 15, 16].map(|tokens| plain.count(tokens)), [0, 1, 1, 2]);
    let stride = Windows::new(8, Some(2)).unwrap();
    assert_eq!((stride.scored, stride.first()), (2, 5));
    assert_eq!([7, 8, 9, 10, 12].map(|tokens| stride.count(tokens)), [0, 1, 1, 2, 3]);
    for (len, stride) in [(3, None), (8, Some(0)), (8, Some(8))] {
        assert_eq!(Windows::new(len, stride).unwrap_err().exit_code(), 2);
    }
}

#[test]
fn an_even_guess_has_the_vocabulary_as_its_perplexity() {
    let mut row = Vec::new();
    log_softmax(&[3.0; 50], &mut row);
    let mut score = Score::default();
    (0..10).for_each(|i| score.add(-row[i]));
    assert!((score.perplexity() - 50.0).abs() < 1e-9);
    assert!(score.error() < 1e-6);
}

fn rows() -> Vec<Vec<f64>> {
    let mut rng = crate::testing::Rng::new(5);
    let row = |rng: &mut crate::testing::Rng| {
        let logits: Vec<f32> = (0..40).map(|i| rng.signed() * 6.0 - if i == 7 { 60.0 } else { 0.0 }).collect();
        let mut row = Vec::new();
        log_softmax(&logits, &mut row);
        row
    };
    (0..6).map(|_| row(&mut rng)).collect()
}

const TOKENS: [u32; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 39];

fn save(path: &Path) -> Windows {
    let windows = Windows::new(8, None).unwrap();
    let mut writer = LogitsWriter::create(path, 40, windows, &TOKENS).unwrap();
    rows().iter().for_each(|row| writer.row(row).unwrap());
    writer.finish().unwrap();
    windows
}

#[test]
fn saved_rows_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("base.lp");
    let windows = save(&path);
    let mut reader = LogitsReader::open(&path, 40, windows, &TOKENS).unwrap();
    let mut comparison = Comparison::default();
    for row in rows() {
        let read = reader.row().unwrap();
        let worst = read.iter().zip(&row).filter(|(_, x)| **x > -30.0).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < 5e-4, "{worst}");
        comparison.add(read, &row, 3);
    }
    let summary = comparison.summary().unwrap();
    assert!(summary.mean < 1e-6 && (summary.same_top - 1.0).abs() < 1e-12, "{summary:?}");
    assert!((summary.perplexity_ratio - 1.0).abs() < 5e-4);
    assert_eq!(reader.row().unwrap_err().exit_code(), 2, "the file ends after its rows");
}

#[test]
fn files_of_something_else_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("base.lp");
    let windows = save(&path);
    let other = Windows::new(8, Some(4)).unwrap();
    let mut tokens = TOKENS;
    tokens[9] = 0;
    for error in [
        LogitsReader::open(&path, 41, windows, &TOKENS).err(),
        LogitsReader::open(&path, 40, other, &TOKENS).err(),
        LogitsReader::open(&path, 40, windows, &tokens).err(),
        LogitsReader::open(&path, 40, windows, &TOKENS[..15]).err(),
    ] {
        let error = error.unwrap();
        assert!(error.exit_code() == 2 && error.to_string().contains("base.lp"), "{error}");
    }
    let bytes = std::fs::read(&path).unwrap();
    for cut in 0..bytes.len() {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let rows =
            LogitsReader::open(&path, 40, windows, &TOKENS).map(|mut reader| (0..6).all(|_| reader.row().is_ok()));
        assert!(!matches!(rows, Ok(true)), "cut to {cut} bytes");
    }
    std::fs::write(&path, b"not the right kind of file").unwrap();
    assert!(LogitsReader::open(&path, 40, windows, &TOKENS).is_err());
}

#[test]
fn divergence_of_two_coins() {
    let ln = |p: [f64; 2]| p.map(f64::ln);
    let mut comparison = Comparison::default();
    comparison.add(&ln([0.5, 0.5]), &ln([0.25, 0.75]), 0);
    comparison.add(&ln([0.9, 0.1]), &ln([0.9, 0.1]), 0);
    let summary = comparison.summary().unwrap();
    let first = 0.5 * (0.5f64 / 0.25).ln() + 0.5 * (0.5f64 / 0.75).ln();
    assert!((summary.max - first).abs() < 1e-6 && (summary.mean - first / 2.0).abs() < 1e-6);
    assert!((summary.median - first / 2.0).abs() < 1e-6, "halfway between the two");
    assert!((summary.same_top - 0.5).abs() < 1e-12);
    assert!((summary.probability_change + 0.125).abs() < 1e-12);
    assert!((summary.base_perplexity - (0.5f64 * 0.9).powf(-0.5)).abs() < 1e-9);
    assert!(Comparison::default().summary().is_none());
}
