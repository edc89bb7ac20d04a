//! Chats that are kept on this machine: `HOME/chats/ID.json`, one file each, with what was said and with which model.
//!
//! Nothing of the cache is kept (that is what `--session` is for), so a chat is a few kilobytes of text. The files are
//! for their owner alone.

use super::Store;
use crate::config::Settings;
use crate::error::FileAction;
use crate::platform::files::{self, private_folder};
use crate::platform::{input, output};
use crate::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Longest file of a chat.
const MAX_CHAT_BYTES: u64 = 64 << 20;
/// Chats that are kept; the oldest go first.
const MAX_CHATS: usize = 1000;

/// What a chat's summary answers: `/compact` puts both in the place of what was said before.
pub const SUMMARY_QUESTION: &str = "What have we talked about so far?";

/// A chat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptChat {
    /// When it began, in a form that sorts; also the name of its file.
    pub id: String,
    /// The file of the model.
    pub model: PathBuf,
    /// What was said, as chat messages.
    pub messages: Vec<Value>,
    /// What was asked first, where a summary has taken its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    /// Which of the messages are answers that were stopped, or cut off at a limit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<usize>,
}

impl KeptChat {
    /// A chat that begins now.
    pub fn begin(model: &Path) -> Self {
        let now = crate::units::now().to_string();
        let digits: String = now.chars().map(|c| if c == ':' || c == '.' { '-' } else { c }).collect();
        Self {
            id: format!("{digits}-{}", std::process::id()),
            model: absolute(model),
            messages: Vec::new(),
            first: None,
            cut: Vec::new(),
        }
    }

    /// The day and minute at which it began, by the clock of the place where that is asked.
    pub fn began(&self) -> String {
        let time = self.id.get(..19).and_then(|time| time.split_once('T'));
        let time =
            time.and_then(|(day, time)| format!("{day}T{}Z", time.replace('-', ":")).parse::<jiff::Timestamp>().ok());
        if let Some(time) = time {
            return time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string();
        }
        let text = self.id.get(..16).unwrap_or(&self.id).replace('T', " ");
        match text.char_indices().nth(13) {
            Some((at, '-')) => format!("{}:{}", &text[..at], &text[at + 1..]),
            _ => text,
        }
    }

    /// The model's name: that in the store, else the file's.
    pub fn model_name(&self) -> String {
        super::name_of(&self.model)
    }

    /// What was asked first, without the files that came with it.
    pub fn title(&self) -> &str {
        const FENCE: &str = "\n```\n";
        let asked = self.first.as_deref().or_else(|| self.asked().next()).unwrap_or_default().trim();
        let files = asked.lines().nth(1) == Some("```");
        asked.rsplit_once(FENCE).filter(|_| files).map_or(asked, |(_, question)| question.trim())
    }

    /// What was asked, so far as no summary has taken its place.
    pub fn asked(&self) -> impl Iterator<Item = &str> {
        let asked = self.messages.iter().filter(|message| is_asked(message));
        asked.filter_map(|message| message["content"].as_str())
    }

    /// How many questions were asked, so far as no summary has taken their place.
    pub fn questions(&self) -> usize {
        self.messages.iter().filter(|message| is_asked(message)).count()
    }

    /// Whether it is kept as it is now.
    pub fn is_as_kept(&self, model: &Path, messages: &[Value]) -> bool {
        self.model == absolute(model) && self.messages == messages
    }

    /// Whether a summary stands at its beginning.
    fn is_summarized(&self) -> bool {
        self.messages.iter().any(|message| message["content"] == SUMMARY_QUESTION)
    }

    /// Whether anybody said this, case aside.
    pub fn says(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        let mut said = self.messages.iter().filter_map(|message| message["content"].as_str());
        said.any(|said| said.to_lowercase().contains(&text))
    }
}

fn is_asked(message: &Value) -> bool {
    message["role"] == "user" && message["content"] != SUMMARY_QUESTION
}

/// A path that means the same in every folder.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// Where the lines that were typed in chats are remembered, below the store's home.
pub fn typed_lines(home: &Path) -> PathBuf {
    home.join("history")
}

/// All that are kept.
#[derive(Debug, Clone)]
pub struct Chats {
    dir: PathBuf,
}

impl Chats {
    /// Those of the store that the settings name.
    ///
    /// # Errors
    /// No place for a store.
    pub fn of(settings: &Settings) -> Result<Self> {
        Ok(Self { dir: Store::of(settings)?.home().join("chats") })
    }

    /// Where they lie.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the lines that were typed in them are remembered.
    pub fn lines(&self) -> PathBuf {
        typed_lines(self.dir.parent().unwrap_or(Path::new("")))
    }

    /// Whether they can be read at all; that there is no folder yet is no error.
    ///
    /// # Errors
    /// A folder that this user may not read.
    pub fn readable(&self) -> Result<()> {
        match std::fs::read_dir(&self.dir) {
            Err(why) if why.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&self.dir, FileAction::Read, why)),
            _ => Ok(()),
        }
    }

    /// All of them, the latest first. What cannot be read is left out: [`Self::damaged`].
    pub fn all(&self) -> Vec<KeptChat> {
        self.files().iter().rev().filter_map(|path| read(path).ok()).collect()
    }

    /// Why each file that cannot be read cannot be, the latest first.
    pub fn damaged(&self) -> Vec<Error> {
        self.files().iter().rev().filter_map(|path| read(path).err()).collect()
    }

    /// The latest one, or the latest one with this model.
    pub fn last(&self, model: Option<&Path>) -> Option<KeptChat> {
        // A name of the store may be a link to the file that was named then.
        let file = |path: &Path| files::canonical(path).or_else(|_| std::path::absolute(path)).ok();
        let model = model.map(file);
        let mut chats = self.files().into_iter().rev().filter_map(|path| read(&path).ok());
        chats.find(|chat| model.as_ref().is_none_or(|model| file(&chat.model) == *model))
    }

    /// Keeps a chat as it is now.
    ///
    /// # Errors
    /// A folder that cannot be written to, a full disk.
    pub fn keep(&self, chat: &KeptChat) -> Result<()> {
        private_folder(&self.dir).map_err(|why| Error::io(&self.dir, FileAction::Create, why))?;
        let text = serde_json::to_vec(chat).map_err(|why| Error::failed("the chat", why.to_string()))?;
        output::write_private(&self.dir.join(format!("{}.json", chat.id)), &text)?;
        let files = self.files();
        files.iter().take(files.len().saturating_sub(MAX_CHATS)).for_each(|old| drop(std::fs::remove_file(old)));
        Ok(())
    }

    /// Keeps `chat` with what was said since it was kept or read last. Where another process has kept it meanwhile, this one
    /// goes on as a chat of its own: each keeps what it said. A chat in which nothing was asked is not kept.
    ///
    /// # Errors
    /// As [`Self::keep`]; [`ErrorKind::NotFound`] for a chat that was kept and has been forgotten meanwhile: it stays so.
    pub fn keep_on(&self, chat: &mut KeptChat, model: &Path, messages: &[Value]) -> Result<()> {
        let there = read(&self.dir.join(format!("{}.json", chat.id)));
        let was_kept = !chat.messages.is_empty() && (chat.questions() > 0 || chat.first.is_some());
        if was_kept && there.as_ref().is_err_and(|why| why.kind() == ErrorKind::NotFound) {
            return Err(Error::usage("This chat has been forgotten meanwhile.").of(ErrorKind::NotFound));
        }
        if there.is_ok_and(|there| there.messages != chat.messages) {
            *chat = KeptChat::begin(model);
        }
        let first = chat.first.take().or_else(|| chat.asked().next().map(|_| chat.title().to_owned()));
        chat.model = absolute(model);
        let same = |at: &usize| chat.messages.get(*at).is_none_or(|before| messages.get(*at) == Some(before));
        chat.cut.retain(|at| *at < messages.len() && same(at));
        chat.messages = messages.to_vec();
        chat.first = first.filter(|_| chat.is_summarized());
        if chat.questions() == 0 && chat.first.is_none() { self.forget(chat) } else { self.keep(chat) }
    }

    /// Forgets one, if it was kept.
    ///
    /// # Errors
    /// A file that cannot be removed.
    pub fn forget(&self, chat: &KeptChat) -> Result<()> {
        let path = self.dir.join(format!("{}.json", chat.id));
        match std::fs::remove_file(&path) {
            Err(why) if why.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&path, FileAction::Remove, why)),
            _ => Ok(()),
        }
    }

    /// Forgets all of them, and the lines that were typed, and says how many chats there were.
    ///
    /// # Errors
    /// A file that cannot be removed.
    pub fn clear(&self) -> Result<usize> {
        let files = self.files();
        files
            .iter()
            .try_for_each(|path| std::fs::remove_file(path).map_err(|why| Error::io(path, FileAction::Remove, why)))?;
        let lines = self.lines();
        match std::fs::remove_file(&lines) {
            Err(why) if why.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&lines, FileAction::Remove, why)),
            _ => Ok(files.len()),
        }
    }

    /// The files, the oldest first. Others that lie there are not touched.
    fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let is_moment = |path: &PathBuf| {
            let name = path.file_stem().unwrap_or_default().as_encoded_bytes();
            name.iter().all(|byte| byte.is_ascii_digit() || b"-TZ".contains(byte))
        };
        let is_chat = |path: &PathBuf| path.extension().is_some_and(|end| end == "json") && is_moment(path);
        let mut files: Vec<_> = entries.filter(is_chat).collect();
        files.sort();
        files
    }
}

fn read(path: &Path) -> Result<KeptChat> {
    let text = input::read_regular_text(path, MAX_CHAT_BYTES)?;
    let chat: KeptChat = serde_json::from_str(&text)
        .map_err(|why| Error::input(path.display().to_string(), "a chat that was kept", why.to_string()))?;
    let whole = chat.messages.iter().all(|message| message["role"].is_string());
    if whole { Ok(chat) } else { Err(Error::input(path.display().to_string(), "messages with roles", "others")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;

    #[test]
    fn the_latest_chat_comes_back() {
        let home = tempfile::tempdir().unwrap();
        let chats = Chats { dir: home.path().join("chats") };
        assert!(chats.last(None).is_none());
        let mut first = KeptChat::begin(Path::new("/a.gguf"));
        first.messages.push(json!({"role": "user", "content": "Why is the Sea salty?"}));
        chats.keep(&first).unwrap();
        let second = KeptChat {
            id: "9999-12-31T23-59-59Z-1".into(),
            model: "/b.gguf".into(),
            messages: Vec::new(),
            first: None,
            cut: Vec::new(),
        };
        chats.keep(&second).unwrap();
        std::fs::write(chats.dir().join("5.json"), "{").unwrap();
        assert_eq!(chats.all(), [second.clone(), first.clone()]);
        assert!(matches!(chats.damaged().as_slice(), [one] if one.to_string().contains("5.json")));
        assert_eq!(chats.last(None).unwrap(), second);
        assert_eq!(chats.last(Some(Path::new("/a.gguf"))).unwrap(), first);
        assert!(first.says("sea") && !first.says("lake") && first.questions() == 1);
        assert_eq!(second.began(), "9999-12-31 23:59");
        let winter = KeptChat { id: "2026-01-02T03-04-05-1".into(), ..second.clone() };
        let here = "2026-01-02T03:04:05Z".parse::<jiff::Timestamp>().unwrap().to_zoned(jiff::tz::TimeZone::system());
        assert_eq!(winter.began(), here.strftime("%Y-%m-%d %H:%M").to_string());
        first.messages[0]["content"] = json!("a.md:\n```\n# A\n```\n\nWhat is it?");
        assert_eq!(first.title(), "What is it?");
        // A summary takes the place of what was asked, and not of its title.
        let summary = [
            json!({"role": "user", "content": SUMMARY_QUESTION}),
            json!({"role": "assistant", "content": "of salt"}),
            json!({"role": "user", "content": "And lakes?"}),
        ];
        let mut chat = chats.last(Some(Path::new("/a.gguf"))).unwrap();
        let model = chat.model.clone();
        for messages in [&summary[..2], &summary] {
            chats.keep_on(&mut chat, &model, messages).unwrap();
            assert_eq!((chat.title(), chat.questions()), ("Why is the Sea salty?", messages.len() - 2));
        }
        chats.keep_on(&mut chat, &model, &summary[2..]).unwrap();
        assert_eq!(chat.title(), "And lakes?");
        // What was forgotten does not come back with the next answer.
        chats.forget(&chat).unwrap();
        assert_eq!(chats.keep_on(&mut chat, &model, &summary).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(chats.all().len(), 1);
        chats.keep(&chat).unwrap();
        assert_eq!(chats.clear().unwrap(), 3);
        assert!(chats.all().is_empty());
    }
}
