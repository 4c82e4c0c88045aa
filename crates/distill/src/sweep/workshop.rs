//! What a sweep needs done to models, so that its order can be tested without any.
use std::path::Path;

use crate::error::DistillError;
use crate::recipe::{ArmPlan, LayerChoicePlan, Plan, StagePlan};
use crate::run::{EventSink, LayerRanking, Sample, Scores, StopFlag};

/// A stage about to be run.
pub struct Training<'a> {
    /// The whole plan.
    pub plan: &'a Plan,
    /// The stage.
    pub stage: &'a StagePlan,
    /// Hash of the weights that its student was made from.
    pub parent_sha256: &'a str,
    /// Most sequences (DPO: pairs) that are computed at once; at most the plan's `batch_size`.
    pub micro_batch: usize,
    /// Folder that its checkpoint will have; those within the stage stand beside it.
    pub folder: &'a Path,
    /// Where events go.
    pub events: &'a mut dyn EventSink,
    /// Asked after every step.
    pub stop: &'a StopFlag,
}

/// Layers about to be ranked.
pub struct Ranking<'a> {
    /// The whole plan.
    pub plan: &'a Plan,
    /// The arm whose students they are of.
    pub arm: &'a ArmPlan,
    /// How it finds them.
    pub choice: &'a LayerChoicePlan,
    /// What is known from before.
    pub known: LayerRanking,
    /// Where checkpoints within the alignment stand beside.
    pub folder: &'a Path,
    /// Where events go.
    pub events: &'a mut dyn EventSink,
    /// Asked after every step and every round.
    pub stop: &'a StopFlag,
    /// Keeps what is known after each round.
    pub keep: &'a mut dyn FnMut(&LayerRanking) -> Result<(), DistillError>,
}

/// Converts, trains, measures, saves and loads models for [`run_sweep`](super::run_sweep).
///
/// Implemented by `ModelWorkshop` and, with numbers in place of models, by tests.
pub trait Workshop {
    /// A model that can be trained; cloning shares its weights.
    type Model: Clone;

    /// Hash of the weights of [`Workshop::init_model`].
    fn init_sha256(&self) -> String;

    /// The model that the first students are made from.
    ///
    /// # Errors
    /// As the implementor says.
    fn init_model(&mut self) -> anyhow::Result<Self::Model>;

    /// Finds which layers need attention most; `None` if it was stopped.
    ///
    /// # Errors
    /// As the implementor says.
    fn rank_layers(&mut self, ranking: Ranking) -> anyhow::Result<Option<LayerRanking>>;

    /// Turns a model into one with `attention_ratio` of its layers kept as attention.
    ///
    /// # Errors
    /// If the ratio cannot be reached from this model.
    fn convert(
        &mut self,
        from: &Self::Model,
        arm: &ArmPlan,
        attention_ratio: f64,
    ) -> anyhow::Result<Self::Model>;

    /// Runs a stage from where it stands; `None` if it was stopped.
    ///
    /// # Errors
    /// As the stage says; [`DistillError::OutOfMemory`](crate::DistillError::OutOfMemory) where a smaller `micro_batch` may
    /// help.
    fn train(
        &mut self,
        training: Training,
        student: Self::Model,
    ) -> anyhow::Result<Option<Self::Model>>;

    /// Measures a student; speed only where asked, it is the same for all stages of a ratio.
    ///
    /// # Errors
    /// As the measures say.
    fn measure(&mut self, model: &Self::Model, with_speed: bool) -> anyhow::Result<Scores>;

    /// What teacher and student say to the same prompts.
    ///
    /// # Errors
    /// As decoding says.
    fn samples(&mut self, model: &Self::Model) -> anyhow::Result<Vec<Sample>>;

    /// Measures the teacher.
    ///
    /// # Errors
    /// As the measures say.
    fn measure_teacher(&mut self) -> anyhow::Result<Scores>;

    /// Writes the checkpoint folder of a stage, whole or not at all, and returns the hash of its weights.
    ///
    /// # Errors
    /// If the folder cannot be written.
    fn save(
        &mut self,
        model: &Self::Model,
        stage: &StagePlan,
        parent_sha256: &str,
        folder: &Path,
    ) -> anyhow::Result<String>;

    /// Hash of the weights in a checkpoint folder.
    ///
    /// # Errors
    /// If they cannot be read.
    fn saved_sha256(&mut self, folder: &Path) -> anyhow::Result<String>;

    /// Reads a checkpoint folder.
    ///
    /// # Errors
    /// If it is not a whole checkpoint.
    fn load(&mut self, folder: &Path) -> anyhow::Result<Self::Model>;
}
