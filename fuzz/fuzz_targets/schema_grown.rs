#![no_main]
#[path = "../harness.rs"]
#[allow(dead_code, reason = "each target runs one")]
mod harness;

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::run("schema_grown", data));
