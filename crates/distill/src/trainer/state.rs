//! What a trainer changes, as named tensors: `weights/KEY`, `moment_1/KEY`, `moment_2/KEY`, `time/KEY`.
//!
//! Values stand as the device holds them, in the layout of the module: they are put back as they were, to the bit.
use std::collections::HashMap;

use burn::backend::Autodiff;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::adaptor::OptimizerAdaptor;

use burn::optim::record::AdaptorRecord;
use burn::optim::{AdamWState, AdaptiveMomentumState, Optimizer};
use burn::tensor::{Tensor, TensorData};
use kernels::SsmBackend;

use super::{Adaptor, FusedAdamW, Model, Trainer};
use crate::checkpoint::Tensors;

/// Moments by parameter, as burn keeps them.
type Moments<B> = <OptimizerAdaptor<FusedAdamW, Model<B>, Autodiff<B>> as Optimizer<
    Model<B>,
    Autodiff<B>,
>>::Record;

impl<B: SsmBackend> Trainer<B> {
    /// The tensors of `model` that are trained, and both moments of those that were updated.
    pub fn tensors(&self, model: &Model<B>) -> Tensors {
        let mut reader = Reader::<B> {
            keys: model.param_keys().into_iter().collect(),
            moments: self.moments(),
            tensors: Tensors::new(),
        };
        model.visit(&mut reader);
        reader.tensors
    }

    /// Puts back what [`Trainer::tensors`] gave after `step` steps; `model` has the frozen tensors.
    ///
    /// # Errors
    /// When a trained tensor is missing or has another shape.
    pub fn restore(
        &mut self,
        model: Model<B>,
        step: usize,
        tensors: &Tensors,
    ) -> anyhow::Result<Model<B>> {
        let mut writer = Writer::<B> {
            keys: model.param_keys().into_iter().collect(),
            undecayed: self.groups.undecayed.iter().copied().collect(),
            tensors,
            device: self.device.clone(),
            moments: [Moments::<B>::default(), Moments::<B>::default()],
            error: None,
        };
        let model = model.map(&mut writer);
        if let Some(error) = writer.error {
            return Err(error);
        }
        let [decayed, undecayed] = writer.moments;
        load(&mut self.decayed, decayed);
        load(&mut self.undecayed, undecayed);
        self.step = step;
        Ok(model)
    }

    fn moments(&self) -> Moments<B> {
        let mut moments = self.decayed.to_record();
        moments.extend(self.undecayed.to_record());
        moments
    }
}

fn load<B: SsmBackend>(optimizer: &mut Adaptor<B>, moments: Moments<B>) {
    *optimizer = optimizer.clone().load_record(moments);
}

struct Reader<B: SsmBackend> {
    keys: HashMap<ParamId, String>,
    moments: Moments<B>,
    tensors: Tensors,
}

impl<B: SsmBackend> ModuleVisitor<Autodiff<B>> for Reader<B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Autodiff<B>, D>>) {
        let tensor = param.val();
        if !tensor.is_require_grad() {
            return;
        }
        let key = &self.keys[&param.id];
        let mut put = |kind: &str, data: TensorData| {
            self.tensors.insert(format!("{kind}/{key}"), data);
        };
        put("weights", tensor.inner().into_data());
        if let Some(record) = self.moments.remove(&param.id) {
            let momentum = record.into_state::<D>().momentum;
            put("moment_1", momentum.moment_1.into_data());
            put("moment_2", momentum.moment_2.into_data());
            put("time", TensorData::new(vec![momentum.time as i64], [1]));
        }
    }
}

struct Writer<'a, B: SsmBackend> {
    keys: HashMap<ParamId, String>,
    undecayed: std::collections::HashSet<ParamId>,
    tensors: &'a Tensors,
    device: B::Device,
    /// Those with decay, then those without.
    moments: [Moments<B>; 2],
    error: Option<anyhow::Error>,
}

impl<B: SsmBackend> Writer<'_, B> {
    fn get<const D: usize>(&self, kind: &str, id: ParamId) -> Option<Tensor<B, D>> {
        let data = self.tensors.get(&format!("{kind}/{}", self.keys[&id]))?;
        let dtype = data.dtype;
        (data.shape.len() == D).then(|| Tensor::from_data(data.clone(), (&self.device, dtype)))
    }

    fn moments<const D: usize>(&self, id: ParamId) -> Option<AdamWState<B, D>> {
        let time = self.tensors.get(&format!("time/{}", self.keys[&id]))?;
        let time = time.iter::<i64>().next()?;
        let mut momentum = AdaptiveMomentumState::new(
            usize::try_from(time).ok()?,
            self.get("moment_1", id)?,
            self.get("moment_2", id)?,
        );
        momentum.max_moment_2 = None;
        Some(AdamWState::new(momentum))
    }
}

impl<B: SsmBackend> ModuleMapper<Autodiff<B>> for Writer<'_, B> {
    fn map_float<const D: usize>(
        &mut self,
        param: Param<Tensor<Autodiff<B>, D>>,
    ) -> Param<Tensor<Autodiff<B>, D>> {
        let (id, held) = (param.id, param.val());
        if !held.is_require_grad() {
            return param;
        }
        let Some(tensor) = self
            .get::<D>("weights", id)
            .filter(|tensor| tensor.dims() == held.dims())
        else {
            self.error.get_or_insert(anyhow::anyhow!(
                "the checkpoint has no tensor `{}` of shape {:?}",
                self.keys[&id],
                held.dims()
            ));
            return param;
        };
        if let Some(state) = self.moments::<D>(id) {
            let group = usize::from(self.undecayed.contains(&id));
            self.moments[group].insert(id, AdaptorRecord::from_state(state));
        }
        Param::initialized(id, Tensor::from_inner(tensor).require_grad())
    }
}
