//! Session files: what is saved comes back bit for bit; what is damaged or of another model is refused with the reason.

use crate::launch::options;
use std::path::Path;
use std::sync::Arc;
use tokki::engine::{Session, session_file};
use tokki::internals::model::Model;
use tokki::internals::parallel::Pool;
use tokki_quant::attention::KvKind;

fn open(name: &str) -> Arc<Model> {
    Arc::new(Model::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arch").join(name)).unwrap())
}

fn pool() -> Arc<Pool> {
    Arc::new(Pool::new(1).unwrap())
}

fn load(path: &Path, model: &Arc<Model>, kv: KvKind) -> tokki::error::Result<(Session, serde_json::Value)> {
    session_file::load(path, Arc::clone(model), pool(), options(300, kv, 64))
}

#[test]
fn a_session_continues_bit_for_bit() {
    let model = open("exaone.gguf");
    let path = tempfile::tempdir().unwrap();
    let path = path.path().join("chat.session");
    for kv in [KvKind::F16, KvKind::Q8] {
        let mut session = Session::new(Arc::clone(&model), pool(), options(300, kv, 64));
        session.feed(&[5, 6, 7, 8, 9].repeat(30), &mut |_| {}).unwrap();
        session_file::save(&session, serde_json::json!({"messages": ["안녕"]}), &path).unwrap();
        let expected = session.feed(&[10, 11], &mut |_| {}).unwrap().to_vec();
        let (mut again, notes) = load(&path, &model, kv).unwrap();
        assert_eq!(notes["messages"][0], "안녕");
        assert_eq!(again.tokens().len(), 150);
        assert_eq!(again.feed(&[10, 11], &mut |_| {}).unwrap(), expected);
    }
}

#[test]
fn any_flipped_bit_and_any_cut_is_refused() {
    let model = open("exaone.gguf");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.session");
    let mut session = Session::new(Arc::clone(&model), pool(), options(300, KvKind::Q8, 64));
    session.feed(&[5, 6, 7], &mut |_| {}).unwrap();
    session_file::save(&session, serde_json::json!({}), &path).unwrap();
    let good = std::fs::read(&path).unwrap();
    let step = (good.len() / 97).max(1);
    for at in (0..good.len()).step_by(step).chain(0..60).chain(good.len() - 40..good.len()) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        std::fs::write(&path, &bad).unwrap();
        let error = load(&path, &model, KvKind::Q8).err().unwrap_or_else(|| panic!("byte {at} was not noticed"));
        assert_eq!(error.exit_code(), 2, "byte {at}: {error}");
        std::fs::write(&path, &good[..at]).unwrap();
        assert!(load(&path, &model, KvKind::Q8).is_err(), "cut at {at}");
    }
}

/// A question is noted behind the session; what a killed process left of such a note costs the question alone.
#[test]
fn a_question_is_noted_behind_the_session() {
    let model = open("exaone.gguf");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.session");
    let mut session = Session::new(Arc::clone(&model), pool(), options(300, KvKind::Q8, 64));
    session.feed(&[5, 6, 7], &mut |_| {}).unwrap();
    let mut file = session_file::SessionFile::open(&path).unwrap();
    let said = |text: &str| serde_json::json!({"messages": [text]});
    file.save(&session, said("before")).unwrap();
    let whole = std::fs::read(&path).unwrap();
    file.ask(&session, said("asked")).unwrap();
    let asked = std::fs::read(&path).unwrap();
    let notes = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        load(&path, &model, KvKind::Q8).unwrap().1
    };
    assert_eq!(notes(&asked), said("asked"));
    for end in whole.len()..asked.len() {
        assert_eq!(notes(&asked[..end]), said("before"), "cut at {end}");
        let mut flipped = asked.clone();
        flipped[end] ^= 1;
        assert_eq!(notes(&flipped), said("before"), "flipped at {end}");
    }
    // What was never written comes back as zeros after a power cut.
    assert_eq!(notes(&[&whole[..], &[0; 500]].concat()), said("before"));
    drop(file);
    std::fs::write(&path, &whole).unwrap();
    let mut file = session_file::SessionFile::open(&path).unwrap();
    file.ask(&session, said("asked")).unwrap();
    file.take_back();
    assert_eq!(std::fs::read(&path).unwrap(), whole);
}

#[test]
fn another_model_or_cache_is_refused_with_the_reason() {
    let model = open("exaone.gguf");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.session");
    let mut session = Session::new(Arc::clone(&model), pool(), options(300, KvKind::F16, 64));
    session.feed(&[5], &mut |_| {}).unwrap();
    session_file::save(&session, serde_json::json!({}), &path).unwrap();
    let other = load(&path, &open("llama.gguf"), KvKind::F16).err().unwrap().to_string();
    assert!(other.contains("another model"), "{other}");
    let kind = load(&path, &model, KvKind::Q8).err().unwrap().to_string();
    assert!(kind.contains("`kv_type` f16"), "{kind}");
}

#[test]
fn a_file_that_cannot_be_written_leaves_the_old_one() {
    let model = open("exaone.gguf");
    let session = Session::new(model, pool(), options(300, KvKind::F16, 64));
    let error =
        session_file::save(&session, serde_json::json!({}), Path::new("/nonexistent/folder/x.session")).unwrap_err();
    assert_eq!(error.exit_code(), 1, "{error}");
}

/// A model with two sets of divisors takes those for the length of the conversation, whatever room there is and however the
/// conversation came to be that long.
#[test]
fn long_divisors_follow_the_conversation() {
    let row = crate::rows::rows().into_iter().find(|row| row.name == "phi3-longrope-dense").unwrap();
    let (model, tokens) = (row.model(), row.tokens.clone());
    let turn = model.spec.turn().unwrap();
    assert!(1 < turn && turn + 2 < tokens.len(), "{turn}");
    let pool = Arc::new(Pool::new(2).unwrap());
    let session = |context| {
        let options = options(context, KvKind::F16, 8);
        Session::new(Arc::clone(&model), Arc::clone(&pool), options)
    };
    let feed = |session: &mut Session, tokens: &[u32]| -> Vec<u32> {
        session.feed(tokens, &mut |_| ()).unwrap().iter().map(|x| x.to_bits()).collect()
    };
    for len in [turn - 1, turn, turn + 1, tokens.len()] {
        let wanted = feed(&mut session(256), &tokens[..len]);
        assert_eq!(feed(&mut session(tokens.len()), &tokens[..len]), wanted, "{len} tokens in a smaller context");
        let mut steps = session(64);
        let last = tokens[..len].iter().map(|&token| feed(&mut steps, &[token])).last().unwrap();
        assert_eq!(last, wanted, "{len} tokens one by one");
    }
    // Saved before the turn and after it, and gone on with on the other side.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    for (saved_at, then) in [(turn - 1, tokens.len()), (tokens.len(), turn - 1), (turn + 1, tokens.len())] {
        let mut first = session(256);
        feed(&mut first, &tokens[..saved_at]);
        session_file::save(&first, serde_json::Value::Null, &path).unwrap();
        let (mut restored, _) =
            session_file::load(&path, Arc::clone(&model), Arc::clone(&pool), first.options().clone()).unwrap();
        let kept = restored.reuse(&tokens[..then]);
        let got = feed(&mut restored, &tokens[kept..then]);
        assert_eq!(got, feed(&mut session(256), &tokens[..then]), "saved at {saved_at}, then {then}");
    }
}
