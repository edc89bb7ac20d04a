//! Opening a model costs little, however large its weights and its vocabulary are, and however it lies about them.
//! What its thread allocates is counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use tokki::internals::gguf::{Gguf, ValueKind};
use tokki::testing::{FileTensor, Writer};

thread_local! {
    /// Bytes that this thread holds (less than none, where it lets go of what another has allocated), and the most so far:
    /// other tests run at the same time.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// `bytes` more, or fewer.
fn count(bytes: isize) {
    let live = LIVE.get() + bytes;
    LIVE.set(live);
    PEAK.set(PEAK.get().max(live));
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged; the counters are each thread's own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `work` returns, the most bytes it held at once, and how long it took.
fn measured<T>(work: impl FnOnce() -> T) -> (T, usize, Duration) {
    let before = LIVE.get();
    PEAK.set(before);
    let start = Instant::now();
    let value = work();
    (value, usize::try_from(PEAK.get() - before).unwrap_or(0), start.elapsed())
}

const VOCAB: usize = 152_064;
const LAYERS: usize = 64;

/// The header of a 32B model in Q4_K, with a real vocabulary's size. Its data would be 18 GB.
fn large() -> (Vec<u8>, u64) {
    let tokens: Vec<String> = (0..VOCAB).map(|i| format!("token{i}")).collect();
    let merges: Vec<String> = (0..VOCAB).map(|i| format!("tok{i} en{i}")).collect();
    let mut writer = Writer::new("qwen2")
        .u32("qwen2.block_count", LAYERS as u32)
        .u32("qwen2.context_length", 32_768)
        .u32("qwen2.embedding_length", 5120)
        .u32("qwen2.feed_forward_length", 27_648)
        .u32("qwen2.attention.head_count", 40)
        .u32("qwen2.attention.head_count_kv", 8)
        .texts("tokenizer.ggml.tokens", &tokens)
        .i32s("tokenizer.ggml.token_type", &vec![1; VOCAB])
        .f32s("tokenizer.ggml.scores", &vec![0.5; VOCAB])
        .texts("tokenizer.ggml.merges", &merges);
    let mut end = 0;
    let ends = [("token_embd", [5120, VOCAB as u64]), ("output", [5120, VOCAB as u64])];
    for (name, shape) in ends {
        place(&mut writer, format!("{name}.weight"), shape, &mut end);
    }
    for (il, (name, shape)) in (0..LAYERS).flat_map(|il| LAYER.map(|tensor| (il, tensor))) {
        place(&mut writer, format!("blk.{il}.{name}.weight"), shape, &mut end);
    }
    let header = writer.header();
    let total = header.len() as u64 + end;
    (header, total)
}

/// Matrices of a layer.
const LAYER: [(&str, [u64; 2]); 7] = [
    ("attn_q", [5120, 5120]),
    ("attn_k", [5120, 1024]),
    ("attn_v", [5120, 1024]),
    ("attn_output", [5120, 5120]),
    ("ffn_gate", [5120, 27_648]),
    ("ffn_up", [5120, 27_648]),
    ("ffn_down", [27_648, 5120]),
];

/// Adds a Q4_K matrix whose data is left out.
fn place(writer: &mut Writer, name: String, shape: [u64; 2], end: &mut u64) {
    let tensor = FileTensor {
        name: name.into(),
        shape: shape.to_vec(),
        kind: 12,
        offset: Some(*end),
        data: Vec::new(),
        zeros: 0,
    };
    writer.tensors.push(tensor);
    *end += shape[0] * shape[1] / 256 * 144;
}

/// A file that begins with `header` and is `len` bytes long, most of it a hole.
fn sparse(path: &Path, header: &[u8], len: u64) {
    let mut file = File::create(path).unwrap();
    file.write_all(header).unwrap();
    file.set_len(len).unwrap();
}

#[test]
fn opening_is_cheap_and_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");

    let (header, len) = large();
    sparse(&path, &header, len);
    // The best of three: the first reads the header from the disk, and another process may be busy during the second.
    let best = (0..2).map(|_| measured(|| drop(Gguf::open(&path).unwrap())).2).min().unwrap();
    let (gguf, peak, time) = measured(|| Gguf::open(&path).unwrap());
    let time = time.min(best);
    eprintln!("{:.1} GB, {} tensors: {time:?}, {} KB", len as f64 / 1e9, gguf.tensors().len(), peak / 1024);
    assert!(len > 17_000_000_000 && gguf.file_bytes() == len);
    assert!(peak < 16 << 20, "{peak} bytes");
    assert!(time < Duration::from_millis(300), "{time:?}");
    assert_eq!(gguf.strings("tokenizer.ggml.tokens").unwrap().unwrap().last(), Some(b"token152063".as_slice()));
    assert_eq!(gguf.view("blk.63.ffn_down.weight").unwrap().bytes().len(), 5120 * 27_648 / 256 * 144);
    drop(gguf);

    // A 300 MB array of bytes: as JSON values it would take 19 GB.
    let huge = [&0u32.to_le_bytes()[..], &(300u64 << 20).to_le_bytes()].concat();
    sparse(&path, &Writer::new("llama").raw("huge", ValueKind::Array as u32, huge).header(), 400 << 20);
    let (error, peak, time) = measured(|| Gguf::open(&path).unwrap_err());
    assert!(error.to_string().contains("header of at most"), "{error}");
    assert!(peak < 1 << 20 && time < Duration::from_secs(10), "{peak} bytes, {time:?}");

    // One that just fits is opened, and stays in the file.
    let large = [&0u32.to_le_bytes()[..], &(200u64 << 20).to_le_bytes()].concat();
    let start = Writer::new("llama").raw("large", ValueKind::Array as u32, large).header();
    sparse(&path, &start, start.len() as u64 + (200 << 20));
    let (gguf, peak, time) = measured(|| Gguf::open(&path).unwrap());
    assert_eq!(gguf.array("large").unwrap().unwrap().len(), 200 << 20);
    assert!(peak < 1 << 20 && time < Duration::from_secs(10), "{peak} bytes, {time:?}");

    // Millions of empty texts, a text of a gigabyte, and a count of keys that only zeros stand for.
    let texts = [&8u32.to_le_bytes()[..], &(30u64 << 20).to_le_bytes()].concat();
    let long = (1u64 << 30).to_le_bytes().to_vec();
    for (kind, value) in [(ValueKind::Array, texts), (ValueKind::Text, long)] {
        sparse(&path, &Writer::new("llama").raw("k", kind as u32, value).header(), 2 << 30);
        let (opened, peak, time) = measured(|| Gguf::open(&path));
        assert!(opened.as_ref().is_ok_and(|gguf| gguf.tensors().len() == 0) || opened.is_err());
        assert!(peak < 1 << 20 && time < Duration::from_secs(20), "{peak} bytes, {time:?}");
    }
    let mut counted = Writer::new("llama").header();
    counted[16..24].copy_from_slice(&65_536u64.to_le_bytes());
    sparse(&path, &counted, 1 << 30);
    let (opened, peak, _) = measured(|| Gguf::open(&path));
    assert!(opened.is_err_and(|error| error.exit_code() == 2) && peak < 1 << 20, "{peak} bytes");
}
