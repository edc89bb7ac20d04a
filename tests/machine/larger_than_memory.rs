//! A model larger than memory: it opens, is planned for and runs within a limit far below its size, gives the same bits,
//! and what it is going to need is read before it's needed.

use crate::split;

use split::SplitModel;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokki::engine::{Options, Session};
use tokki::internals::model::Model;
use tokki::internals::parallel::Pool;
use tokki_quant::attention::KvKind;

/// Memory of the limited process, page cache included: less than half of the model.
const LIMIT: u64 = 176 << 20;

/// What a process without a limit on page cache may have of its own.
const OWN: u64 = 128 << 20;

/// One test at a time: they count page faults, and each has a large file.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn model() -> SplitModel {
    SplitModel::write(Path::new(env!("CARGO_TARGET_TMPDIR")), 5).unwrap()
}

/// A control group with a limit, removed when dropped.
struct Group(PathBuf);

impl Group {
    /// Below this process's own group, or below the root, wherever the system lets us.
    fn new(limit: u64) -> Option<Self> {
        let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let path = |names: &str| {
            let line = own.lines().find(|line| line.split(':').nth(1) == Some(names))?;
            line.splitn(3, ':').nth(2).map(|path| path.trim_start_matches('/').to_owned())
        };
        let places = [
            ("/sys/fs/cgroup/memory", path("memory"), "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", path(""), "memory.max"),
        ];
        for (top, path, file) in places {
            let below = [path.unwrap_or_default(), String::new()];
            for folder in below.map(|path| Path::new(top).join(path).join(format!("tokki-test-{}", std::process::id())))
            {
                if std::fs::create_dir(&folder).is_err() {
                    continue;
                }
                let group = Self(folder);
                if std::fs::write(group.0.join(file), limit.to_string()).is_ok() {
                    return Some(group);
                }
            }
        }
        None
    }

    /// How often the group ran into its limit.
    fn collisions(&self) -> u64 {
        let v1 = std::fs::read_to_string(self.0.join("memory.failcnt")).ok();
        let v2 = std::fs::read_to_string(self.0.join("memory.events")).unwrap_or_default();
        let v2 = v2.lines().find_map(|line| line.strip_prefix("max ").map(str::to_owned));
        v1.or(v2).unwrap().trim().parse().unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Whether the files are on a disk: those that are in memory anyway are charged to who wrote them.
fn on_disk() -> bool {
    const TMPFS: u64 = 0x0102_1994;
    rustix::fs::statfs(env!("CARGO_TARGET_TMPDIR")).unwrap().f_type as u64 != TMPFS
}

/// How a process is limited.
enum Limit {
    No,
    /// All of its memory.
    Group(Group),
    /// Memory that is not pages of files: what any system can limit.
    Own,
}

impl Limit {
    /// The output of a command, which has to succeed.
    fn run(&self, args: &[&str]) -> Vec<u8> {
        let script = match self {
            Self::No => "exec \"$@\"".to_owned(),
            Self::Group(group) => format!("echo $$ > {}/cgroup.procs && exec \"$@\"", group.0.display()),
            Self::Own => format!("ulimit -d {} && exec \"$@\"", OWN >> 10),
        };
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh", crate::launch::BINARY]).args(args);
        if matches!(self, Self::Own) {
            // No limit that the program could see.
            command.env("TOKKI_READ_AHEAD", "on");
        }
        let run = command.output().unwrap();
        assert!(run.status.success(), "{args:?}: {} {}", run.status, String::from_utf8_lossy(&run.stderr));
        run.stdout
    }
}

/// Logits of a prompt, and what the model says to another.
fn answers(model: &SplitModel, limit: &Limit) -> (Vec<u8>, Vec<u8>) {
    let path = model.path().to_str().unwrap();
    let out = tempfile::NamedTempFile::new().unwrap();
    let tokens: Vec<String> = (0..40).map(|i| (i * 7919 % 256).to_string()).collect();
    let common = ["--threads", "2", "--ctx", "256"];
    let mut logits = vec!["logits", path, "--tokens"];
    let tokens = tokens.join(",");
    logits.extend([tokens.as_str(), "--output", out.path().to_str().unwrap()]);
    limit.run(&[&logits[..], &common].concat());
    let run = ["run", path, "the prompt", "--raw", "--temperature", "0", "--max-tokens", "8"];
    (std::fs::read(out.path()).unwrap(), limit.run(&[&run[..], &common].concat()))
}

#[test]
fn it_runs_within_a_limit_far_below_its_size() {
    let _alone = alone();
    let model = model();
    assert!(model.bytes() > 2 * LIMIT, "{} bytes", model.bytes());
    let expected = answers(&model, &Limit::No);
    assert!(expected.0.len() == 40 * 260 * 4 && !expected.1.is_empty());
    let logits = expected.0.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    assert!(logits.clone().all(f32::is_finite) && logits.clone().any(|x| x.abs() > 0.01));

    // Pages in memory are charged to whoever had them read.
    model.forget_pages();
    let Some(group) = Group::new(LIMIT).filter(|_| on_disk()) else {
        eprintln!("no control group can be made here, or none that counts: only the process's own memory is limited");
        assert!(answers(&model, &Limit::Own) == expected);
        return;
    };
    let limit = Limit::Group(group);
    assert!(answers(&model, &limit) == expected);
    let plan = limit.run(&["plan", model.path().to_str().unwrap(), "--json", "--threads", "2"]);
    let plan: serde_json::Value = serde_json::from_slice(&plan).unwrap();
    assert_eq!(plan["file_bytes"], model.bytes());
    assert!(plan["free_bytes"].as_u64().unwrap() < LIMIT);
    assert!(plan["rows"].as_array().unwrap().iter().all(|row| row["fits"] == false));
    assert!(plan["advice"].as_str().unwrap().starts_with("does not fit"), "{}", plan["advice"]);
    let Limit::Group(group) = &limit else { unreachable!() };
    assert!(group.collisions() > 0, "the limit was never reached: nothing was tested");
}

/// Page faults of this process that had to wait for the disk.
fn major_faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit_once(')').unwrap().1;
    fields.split_whitespace().nth(9).unwrap().parse().unwrap()
}

#[test]
fn what_is_read_ahead_is_there_when_it_is_needed() {
    let _alone = alone();
    let file = model();
    let faults = |read_ahead: usize| {
        file.forget_pages();
        let model = Arc::new(Model::open(file.path()).unwrap());
        let options = Options { read_ahead, ..crate::launch::options(256, KvKind::F16, 64) };
        let mut session = Session::new(model, Arc::new(Pool::new(2).unwrap()), options);
        let before = major_faults();
        let mut logits = Vec::new();
        for token in [3, 50, 100, 150] {
            logits.extend(session.feed(&[token], &mut |_| {}).unwrap().iter().map(|x| x.to_bits()));
        }
        (major_faults() - before, logits)
    };
    let (without, expected) = faults(0);
    if without < 20 {
        eprintln!("skipped: {without} page faults waited for the disk, so the system keeps the pages");
        return;
    }
    let (with, logits) = faults(64 << 20);
    assert!(logits == expected);
    eprintln!("{without} page faults waited for the disk, {with} with read-ahead");
    assert!(with * 2 < without, "{with} page faults waited for the disk in spite of read-ahead, {without} without it");
}
