//! THE FORMATS OF THOUGHT: how each family marks where it thinks and where it answers.
//!
//! A format is a small machine: markers, each with the modes in which it counts and the mode that it leads to. Adding a
//! family is adding a row.

/// What the text at some place of a model's output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nothing has come yet but whitespace: a thought may open, or an answer begin.
    Start,
    /// Thought.
    Reasoning,
    /// Answer.
    Answer,
    /// A call of a tool, in the family's own notation.
    Call,
    /// The head of a segment: it says what the segment is.
    Head,
    /// Between segments.
    Between,
}

/// Where a marker leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    /// Into this mode.
    Mode(Mode),
    /// To where the head that ends here says.
    Head,
    /// Nowhere: the marker is dropped.
    Stay,
}

/// A marker, the modes in which it counts, and where it leads.
pub(super) type Rule = (&'static str, &'static [Mode], To);

/// How a family marks its thoughts.
pub(super) struct ThoughtFormat {
    /// The name, for people.
    pub(super) name: &'static str,
    /// Any of these in the template (all texts of one entry) tells the family.
    signs: &'static [&'static [&'static str]],
    /// The mode of an output when the prompt leaves it open.
    pub(super) start: Mode,
    /// The markers.
    pub(super) rules: &'static [Rule],
    /// What a head says: the first row whose text is in it.
    pub(super) heads: &'static [(&'static str, Mode)],
    /// The text after which the rest of the prompt belongs to the output: the last one seeds the machine. Empty: the
    /// prompt's end is looked at instead.
    pub(super) seed: &'static str,
    /// What ends a thought and begins the answer.
    pub(super) closing: &'static str,
}

impl std::fmt::Debug for ThoughtFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

use Mode::{Answer, Between, Call, Head, Reasoning, Start};

const ANY: &[Mode] = &[Start, Reasoning, Answer, Call, Head, Between];

/// The table. The first row that fits counts.
static THOUGHT_FORMATS: &[ThoughtFormat] = &[
    ThoughtFormat {
        name: "channels (analysis, commentary, final)",
        signs: &[&["<|channel|>", "<|message|>"]],
        start: Between,
        rules: &[
            ("<|start|>", ANY, To::Mode(Head)),
            ("<|channel|>", ANY, To::Mode(Head)),
            ("<|message|>", ANY, To::Head),
            ("<|constrain|>", ANY, To::Stay),
            ("<|end|>", ANY, To::Mode(Between)),
            ("<|return|>", ANY, To::Mode(Between)),
            ("<|call|>", ANY, To::Mode(Between)),
        ],
        heads: &[("to=", Call), ("analysis", Reasoning), ("", Answer)],
        seed: "<|start|>",
        closing: "<|end|><|start|>assistant<|channel|>final<|message|>",
    },
    ThoughtFormat {
        name: "<|think|>",
        signs: &[&["<|think|>", "<|begin|>"]],
        start: Between,
        rules: &[
            ("<|begin|>", ANY, To::Mode(Between)),
            ("<|think|>", ANY, To::Mode(Reasoning)),
            ("<|content|>", ANY, To::Mode(Answer)),
            ("<|tool_calls|>", ANY, To::Mode(Call)),
            ("<|end|>", ANY, To::Mode(Between)),
            ("<|flush|>", ANY, To::Mode(Between)),
            ("<|calls|>", ANY, To::Mode(Between)),
        ],
        heads: &[],
        seed: "<|begin|>",
        closing: "<|end|><|begin|>assistant<|content|>",
    },
    ThoughtFormat {
        name: "assistant/think",
        signs: &[&["force_reasoning"], &["assistant/think"]],
        start: Head,
        rules: &[
            ("<|im_start|>", ANY, To::Mode(Head)),
            ("\n", &[Head], To::Head),
            ("<|im_end|>", ANY, To::Mode(Between)),
            ("<|endofturn|>", ANY, To::Mode(Between)),
            ("<|stop|>", ANY, To::Mode(Between)),
        ],
        heads: &[("function_call", Call), ("think", Reasoning), ("", Answer)],
        seed: "<|im_start|>",
        closing: "<|im_end|>\n<|im_start|>assistant\n",
    },
    ThoughtFormat {
        name: "<thought>",
        signs: &[&["<thought>"], &["</thought>"]],
        start: Start,
        rules: &[
            ("<thought>", &[Start, Reasoning], To::Mode(Reasoning)),
            ("</thought>", &[Start, Reasoning], To::Mode(Answer)),
        ],
        heads: &[],
        seed: "",
        closing: "\n</thought>\n\n",
    },
    ThoughtFormat {
        name: "[THINK]",
        signs: &[&["[THINK]", "[/THINK]"]],
        start: Start,
        rules: &[
            ("[THINK]", &[Start, Reasoning], To::Mode(Reasoning)),
            ("[/THINK]", &[Start, Reasoning], To::Mode(Answer)),
        ],
        heads: &[],
        seed: "",
        closing: "[/THINK]",
    },
    ThoughtFormat {
        name: "<think>, <response>",
        signs: &[&["<think>", "<response>"]],
        start: Start,
        rules: &[
            ("<think>", &[Start, Reasoning], To::Mode(Reasoning)),
            ("</think>", &[Start, Reasoning], To::Mode(Answer)),
            ("<response>", &[Answer], To::Stay),
            ("</response>", &[Answer], To::Stay),
        ],
        heads: &[],
        seed: "",
        closing: "\n</think>\n<response>",
    },
    ThoughtFormat {
        name: "<think>",
        signs: &[&["<think>"], &["</think>"]],
        start: Start,
        rules: &[
            ("<think>", &[Start, Reasoning], To::Mode(Reasoning)),
            ("</think>", &[Start, Reasoning], To::Mode(Answer)),
        ],
        heads: &[],
        seed: "",
        closing: "\n</think>\n\n",
    },
];

impl ThoughtFormat {
    /// The format that a template speaks of; else the one whose opening tag is a token of the vocabulary or stands at the
    /// end of the prompt.
    pub(super) fn detect(template: &str, has_token: &dyn Fn(&str) -> bool, prompt: &str) -> Option<&'static Self> {
        let told =
            |format: &&ThoughtFormat| format.signs.iter().any(|signs| signs.iter().all(|sign| template.contains(sign)));
        THOUGHT_FORMATS.iter().find(told).or_else(|| {
            let tags = THOUGHT_FORMATS.iter().filter(|format| format.seed.is_empty());
            tags.into_iter().find(|format| {
                let (open, close) = (format.rules[0].0, format.rules[1].0);
                prompt.trim_end().ends_with(open) || (has_token(open) && has_token(close) && format.rules.len() == 2)
            })
        })
    }

    /// Texts whose tokens have to be shown to the splitter although they are control tokens.
    pub(super) fn markers(&self) -> impl Iterator<Item = &'static str> {
        self.rules.iter().map(|(text, ..)| *text)
    }

    /// Whether the format's own tags decide (rather than heads of segments).
    pub(super) fn has_tags(&self) -> bool {
        self.seed.is_empty()
    }

    /// The mode in which a head's segment stands.
    pub(super) fn head(&self, head: &str) -> Mode {
        self.heads.iter().find(|(text, _)| head.contains(text)).map_or(Answer, |(_, mode)| *mode)
    }
}
