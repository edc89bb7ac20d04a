//! The harnesses of `fuzz/`, over inputs that were once found or made by hand, and over thousands of drawn ones.

#[path = "../../fuzz/harness.rs"]
#[allow(clippy::expect_used, reason = "a harness panics on faults of its own")]
mod harness;

use std::path::{Path, PathBuf};
use tokki::testing::Rng;

/// What inputs are made of: pieces that the parsers know.
const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "null",
    "1e308",
    "-0",
    "{{ ",
    " }}",
    "{% for x in messages %}",
    "{% endfor %}",
    "x",
    "|",
    "tojson",
    "~",
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "{\"name\": \"f\", \"arguments\": {",
    "STOP",
    "</s>",
    "\"type\"",
    "\"object\"",
    "\"properties\"",
    "\"enum\"",
    "\"$ref\"",
    "\"#\"",
    "\"pattern\"",
    "\"^a*$\"",
    "\"minimum\"",
    "9007199254740993",
    "start: ",
    "/a+/",
    "%json",
    "(",
    ")",
    "*",
    "?",
    "한국어",
    "\u{301}",
    "\u{feff}",
    "\n",
    "\0",
    "threads = ",
    "0",
    "temperature",
    "é",
    "👩‍👩‍👧",
    "\r\n",
];

fn drawn(rng: &mut Rng) -> Vec<u8> {
    let count = rng.below(40);
    if rng.below(3) == 0 {
        return (0..count * 4).map(|_| rng.below(256) as u8).collect();
    }
    (0..count).flat_map(|_| WORDS[rng.below(WORDS.len())].bytes()).collect()
}

#[test]
fn saved_and_drawn_inputs_find_nothing() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/fuzz");
    let count = std::env::var("TOKKI_TEST_DRAWN").ok().and_then(|text| text.parse().ok()).unwrap_or(120);
    // Where `scripts/long/fuzz` wants files to begin with.
    let seeds = std::env::var_os("TOKKI_TEST_SEEDS").map(PathBuf::from);
    for (name, _) in harness::ALL {
        let files = std::fs::read_dir(corpus.join(name)).into_iter().flatten().flatten();
        for file in files {
            harness::run(name, &std::fs::read(file.path()).unwrap());
        }
        let mut rng = Rng::new(7);
        let drawn = (0..count).map(|_| drawn(&mut rng));
        for (number, input) in harness::beginnings(name).into_iter().chain(drawn).enumerate() {
            harness::run(name, &input);
            if let Some(folder) = seeds.as_ref().map(|folder| folder.join(name)) {
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(folder.join(format!("seed-{number}")), &input).unwrap();
            }
        }
    }
}
