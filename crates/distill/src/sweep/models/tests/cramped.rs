//! A device with little memory.
use super::*;
use crate::run::Sample;

/// Runs out of memory in the fifth step of a stage that computes more than `room` sequences at once.
pub(super) struct Cramped<'a> {
    pub inner: ModelWorkshop<'a, Flex>,
    pub room: usize,
}

/// Stops a stage as a failed allocation would: without a word, in the middle of a step.
struct Failing<'a> {
    inner: &'a mut dyn EventSink,
}

impl EventSink for Failing<'_> {
    fn emit(&mut self, event: Event) {
        assert!(!matches!(event, Event::Step { step: 5, .. }), "planted");
        self.inner.emit(event);
    }
}

impl Workshop for Cramped<'_> {
    type Model = HybridModel<Flex>;

    fn init_sha256(&self) -> String {
        self.inner.init_sha256()
    }

    fn init_model(&mut self) -> anyhow::Result<Self::Model> {
        self.inner.init_model()
    }

    fn rank_layers(&mut self, ranking: Ranking) -> anyhow::Result<Option<LayerRanking>> {
        self.inner.rank_layers(ranking)
    }

    fn convert(
        &mut self,
        from: &Self::Model,
        arm: &ArmPlan,
        attention_ratio: f64,
    ) -> anyhow::Result<Self::Model> {
        self.inner.convert(from, arm, attention_ratio)
    }

    fn train(
        &mut self,
        training: Training,
        student: Self::Model,
    ) -> anyhow::Result<Option<Self::Model>> {
        let (plan, stage, micro_batch) = (training.plan, training.stage, training.micro_batch);
        if micro_batch <= self.room {
            return self.inner.train(training, student);
        }
        let config = student.config().clone();
        let mut events = Failing {
            inner: training.events,
        };
        let training = Training {
            events: &mut events,
            ..training
        };
        let attempt = AssertUnwindSafe(|| self.inner.train(training, student));
        catch_unwind(attempt).unwrap_or_else(|_| {
            let stage = in_parts(stage, micro_batch);
            Err(out_of_memory(&config, plan, &stage, 4096).into())
        })
    }

    fn measure(&mut self, model: &Self::Model, with_speed: bool) -> anyhow::Result<Scores> {
        self.inner.measure(model, with_speed)
    }

    fn samples(&mut self, model: &Self::Model) -> anyhow::Result<Vec<Sample>> {
        self.inner.samples(model)
    }

    fn measure_teacher(&mut self) -> anyhow::Result<Scores> {
        self.inner.measure_teacher()
    }

    fn save(
        &mut self,
        model: &Self::Model,
        stage: &StagePlan,
        parent_sha256: &str,
        folder: &Path,
    ) -> anyhow::Result<String> {
        self.inner.save(model, stage, parent_sha256, folder)
    }

    fn saved_sha256(&mut self, folder: &Path) -> anyhow::Result<String> {
        self.inner.saved_sha256(folder)
    }

    fn load(&mut self, folder: &Path) -> anyhow::Result<Self::Model> {
        self.inner.load(folder)
    }
}
