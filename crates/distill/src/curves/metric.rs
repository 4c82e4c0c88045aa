//! The numbers of a step that a curve can be of.
use crate::run::Event;

/// Numbers of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepValues {
    /// When it was done, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// Every [`Metric`] in order, where the stage has it.
    values: [Option<f64>; Metric::ALL.len()],
}

impl StepValues {
    /// Those of a `Step` event with its number; `None` for other events.
    pub fn of(time_ms: u64, event: &Event) -> Option<(usize, Self)> {
        let Event::Step {
            step,
            loss,
            ce,
            kl,
            margin,
            accuracy,
            lr,
            grad_norm,
            tokens_per_s,
            ..
        } = *event
        else {
            return None;
        };
        let values = [
            Some(loss),
            ce,
            kl,
            margin,
            accuracy,
            Some(lr),
            Some(grad_norm),
            Some(tokens_per_s),
        ];
        Some((step, Self { time_ms, values }))
    }

    /// One of them.
    pub fn get(&self, metric: Metric) -> Option<f64> {
        self.values[metric as usize]
    }
}

/// A number that a step has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// What was minimised.
    Loss,
    /// Cross-entropy, nats a label.
    CrossEntropy,
    /// Divergence from the teacher, nats.
    Kl,
    /// DPO's reward margin.
    Margin,
    /// DPO's reward accuracy.
    Accuracy,
    /// Learning rate.
    Lr,
    /// Gradient norm before clipping.
    GradNorm,
    /// Tokens a second.
    TokensPerS,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Loss,
        Self::CrossEntropy,
        Self::Kl,
        Self::Margin,
        Self::Accuracy,
        Self::Lr,
        Self::GradNorm,
        Self::TokensPerS,
    ];

    /// Name in the log and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::CrossEntropy => "ce",
            Self::Kl => "kl",
            Self::Margin => "margin",
            Self::Accuracy => "accuracy",
            Self::Lr => "lr",
            Self::GradNorm => "grad_norm",
            Self::TokensPerS => "tokens_per_s",
        }
    }

    /// Name above a curve.
    pub fn title(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::CrossEntropy => "cross-entropy",
            Self::Kl => "KL to the teacher",
            Self::Margin => "DPO reward margin",
            Self::Accuracy => "DPO accuracy",
            Self::Lr => "learning rate",
            Self::GradNorm => "gradient norm",
            Self::TokensPerS => "tokens/s",
        }
    }
}
