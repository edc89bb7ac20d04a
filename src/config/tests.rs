#![allow(clippy::unwrap_used, reason = "tests")]
use super::item::Threads;
use super::*;

fn load(file: Option<&str>, env: &[(&str, &str)]) -> Result<(tempfile::TempDir, Settings)> {
    let dir = tempfile::tempdir().unwrap();
    let mut vars: Vec<(String, String)> = env.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
    if let Some(text) = file {
        let path = dir.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        vars.push(("TOKKI_CONFIG".into(), path.to_string_lossy().into_owned()));
    }
    let settings = Settings::from_sources(&|name| vars.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()))?;
    Ok((dir, settings))
}

fn message(file: &str, env: &[(&str, &str)]) -> String {
    let error = load(Some(file), env).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    error.to_string()
}

#[test]
fn flag_beats_environment_beats_file() {
    let file = "threads = 1\nctx = 100\ntemperature = 0.5\nkv_type = \"q8_0\"\n";
    let (_dir, settings) =
        load(Some(file), &[("TOKKI_CTX", "200"), ("TOKKI_THREADS", "2"), ("TOKKI_SEED", "")]).unwrap();
    let given = |key: &'static str, text: &str| GivenFlags::from([(key, text.to_owned())]);
    let settings = settings.with(&given("threads", "3")).with(&given("thinking", "512"));
    assert_eq!(
        (settings.threads(), settings.get("threads").unwrap().1),
        (Some(Threads { count: 3, forced: false }), &SettingOrigin::Flag)
    );
    assert_eq!((settings.ctx(), settings.get("ctx").unwrap().1), (Some(200), &SettingOrigin::Env("TOKKI_CTX")));
    assert_eq!(settings.sampling().temperature, Some(0.5));
    assert!(matches!(settings.get("temperature"), Some(("0.5", SettingOrigin::File(_)))));
    assert_eq!(settings.kv_type().as_deref(), Some("q8_0"));
    assert_eq!(settings.thinking(), Some(ThinkingSetting::Budget(512)));
    assert_eq!((settings.seed(), settings.get("seed")), (None, None));
}

#[test]
fn unknown_keys_suggest_the_nearest() {
    assert!(message("treads = 4", &[]).contains("did you mean \"threads\"?"));
    assert!(message("banana = 4", &[]).contains("tokki config example"));
    let unknown = unknown_variables(["TOKKI_THREAD", "TOKKI_CTX", "TOKKI_ISA", "PATH"].map(str::to_owned));
    assert_eq!(unknown, [("TOKKI_THREAD".to_owned(), Some("TOKKI_THREADS"))]);
}

#[test]
fn values_that_do_not_fit_name_their_place() {
    let wrong_type = message("ctx = \"many\"", &[]);
    assert!(wrong_type.contains("config.toml, line 1, key ctx") && wrong_type.contains("number"), "{wrong_type}");
    assert!(message("threads = 0", &[]).contains("from 1 to 1024"));
    assert!(message("threads = -1", &[]).contains("from 1 to 1024"));
    assert!(message("top_p = 1.5", &[]).contains("up to 1"));
    assert!(message("kv_type = \"q9\"", &[]).contains("f32, f16, q8_0"));
    assert!(message("ctx = [1]", &[]).contains("key ctx"));
    assert!(message("temperature = nan", &[]).contains("a number"));
    assert!(message("= 3", &[]).contains("TOML"));
    assert!(message("", &[("TOKKI_CTX", "x")]).contains("TOKKI_CTX"));
    assert!(message("", &[("HF_ENDPOINT", "ftp://x")]).contains("HF_ENDPOINT"));
    let missing = [("TOKKI_CONFIG", "/nowhere/config.toml")];
    assert!(
        Settings::from_sources(&|name| missing.iter().find(|(k, _)| *k == name).map(|(_, v)| (*v).to_owned())).is_err()
    );
}

/// Every row has names of its own.
#[test]
fn the_table_is_whole() {
    for (at, key) in KEYS.iter().enumerate() {
        assert!(key.env == format!("TOKKI_{}", key.name.to_uppercase()) || key.env == "HF_ENDPOINT");
        assert!(KEYS.iter().skip(at + 1).all(|other| other.name != key.name && other.env != key.env));
        assert!(!key.default.is_empty());
    }
}

#[test]
fn values_survive_a_round_trip() {
    for text in ["0", "4096", "64K", "64MiB", "1.5G", "2t", "7b"] {
        let bytes = Bytes::parse(text).unwrap();
        assert_eq!(Bytes::parse(&bytes.show()), Ok(bytes), "{text}");
    }
    assert_eq!(Bytes::parse("1.5G"), Ok(Bytes(3 << 29)));
    for text in ["", "x", "-1", "1.5X", "99999999999T", "nan"] {
        assert!(Bytes::parse(text).is_err(), "{text}");
    }
    for thinking in [ThinkingSetting::On, ThinkingSetting::Off, ThinkingSetting::Budget(9)] {
        assert_eq!(ThinkingSetting::parse(&thinking.show()), Ok(thinking));
    }
    assert!(ThinkingSetting::parse("maybe").is_err() && bool::parse("maybe").is_err());
    assert_eq!(f32::parse(&0.1f32.show()), Ok(0.1));
}

#[test]
fn files_are_looked_for_where_the_system_says() {
    let path = |pairs: &[(&str, &str)]| {
        let pairs: Vec<_> = pairs.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        file_path(&move |name| pairs.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()))
    };
    assert_eq!(path(&[("TOKKI_CONFIG", "/c"), ("XDG_CONFIG_HOME", "/x")]), Some(("/c".into(), true)));
    assert_eq!(path(&[("XDG_CONFIG_HOME", "/x")]), Some(("/x/tokki/config.toml".into(), false)));
    assert_eq!(path(&[]), None);
}

proptest::proptest! {
    /// Whatever a file or a variable holds: settings that can be read, or an error that names the place.
    #[test]
    fn any_text(key in proptest::sample::select(KEYS.iter().map(|key| key.name).collect::<Vec<_>>()), value in ".{0,20}") {
        for text in [format!("{key} = {value}"), value.clone()] {
            if let Err(error) = load(Some(&text), &[]) {
                assert!(error.to_string().contains("config.toml"), "{error}");
            }
        }
        let env = KEYS.iter().find(|k| k.name == key).unwrap().env;
        if let Err(error) = load(None, &[(env, &value)]) {
            assert!(error.to_string().contains(env), "{error}");
        }
    }
}
