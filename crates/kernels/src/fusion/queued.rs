//! Whole calls of the inner backend in the queue of burn-fusion.

use burn::tensor::ops::{FloatTensor, IntTensor};
use burn::tensor::{DType, Shape, TensorMetadata};
use burn_fusion::stream::{Operation, OperationStreams};
use burn_fusion::{FusionBackend, FusionHandle, FusionTensor};
use burn_ir::{CustomOpIr, HandleContainer, OperationIr, TensorIr};
use std::fmt;
use std::marker::PhantomData;

/// A tensor whose values are computed when the queue gets there.
pub(super) type Queued<B> = FusionTensor<<B as FusionBackend>::FusionRuntime>;

/// Shape and element type of a result.
pub(super) type Form = (Shape, DType);

/// The form of another tensor.
pub(super) fn like<B: FusionBackend>(tensor: &Queued<B>) -> Form {
    (tensor.shape.clone(), tensor.dtype)
}

/// Results of a call, of which the last may be absent.
pub(super) type Results<T, const N: usize> = ([T; N], Option<T>);

/// The inputs of a call when its turn comes, in the order in which they were queued.
pub(super) struct Inputs<'a, B: FusionBackend> {
    tensors: std::slice::Iter<'a, Option<TensorIr>>,
    handles: &'a mut HandleContainer<B::Handle>,
}

impl<'a, B: FusionBackend> Inputs<'a, B> {
    fn next(&mut self) -> Option<&'a TensorIr> {
        let next = self.tensors.next();
        next.expect("no more inputs than queued").as_ref()
    }

    fn present(&mut self) -> &'a TensorIr {
        self.next().expect("queued as present")
    }

    pub(super) fn float(&mut self) -> FloatTensor<B> {
        let tensor = self.present();
        self.handles.get_float_tensor::<B>(tensor)
    }

    pub(super) fn floats<const N: usize>(&mut self) -> [FloatTensor<B>; N] {
        std::array::from_fn(|_| self.float())
    }

    pub(super) fn optional(&mut self) -> Option<FloatTensor<B>> {
        let tensor = self.next()?;
        Some(self.handles.get_float_tensor::<B>(tensor))
    }

    pub(super) fn int(&mut self) -> IntTensor<B> {
        let tensor = self.present();
        self.handles.get_int_tensor::<B>(tensor)
    }
}

/// A call in the queue.
struct Call<B, F, const N: usize> {
    name: &'static str,
    inputs: Vec<Option<TensorIr>>,
    outputs: Vec<TensorIr>,
    run: F,
    backend: PhantomData<fn() -> B>,
}

impl<B, F, const N: usize> fmt::Debug for Call<B, F, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({})", self.name)
    }
}

impl<B, F, const N: usize> Operation<B::FusionRuntime> for Call<B, F, N>
where
    B: FusionBackend,
    F: Fn(&mut Inputs<'_, B>) -> Results<FloatTensor<B>, N> + Send + Sync,
{
    fn execute(&self, handles: &mut HandleContainer<FusionHandle<B::FusionRuntime>>) {
        let (results, last) = (self.run)(&mut Inputs {
            tensors: self.inputs.iter(),
            handles,
        });
        let name = self.name;
        let count = N + usize::from(last.is_some());
        assert_eq!(count, self.outputs.len(), "{name}: results");
        let results = results.into_iter().chain(last);
        for (declared, result) in self.outputs.iter().zip(results) {
            assert_eq!(result.shape(), declared.shape, "{name}: a result's shape");
            let result = match result.dtype() == declared.dtype {
                true => result,
                false => B::float_cast(result, declared.dtype.into()),
            };
            handles.register_float_tensor::<B>(&declared.id, result);
        }
    }
}

/// Queues a call of the inner backend. A queued tensor has its form before it has values, so the forms of the results
/// are given here: `run` returns tensors of these shapes, which are then cast to these types if they have others.
pub(super) fn queue<B, const N: usize>(
    name: &'static str,
    inputs: impl IntoIterator<Item = Option<Queued<B>>>,
    forms: Results<Form, N>,
    run: impl Fn(&mut Inputs<'_, B>) -> Results<FloatTensor<B>, N> + Send + Sync + 'static,
) -> Results<Queued<B>, N>
where
    B: FusionBackend,
{
    let inputs: Vec<_> = inputs.into_iter().collect();
    let present = || inputs.iter().flatten();
    let client = present().next().expect("an operation has operands");
    let client = client.client.clone();
    let streams = OperationStreams::with_inputs(present());
    let declare = |(shape, dtype)| TensorIr::uninit(client.create_empty_handle(), shape, dtype);
    let outputs: Vec<_> = forms.0.into_iter().chain(forms.1).map(declare).collect();
    let inputs: Vec<_> = (inputs.into_iter())
        .map(|input| input.map(FusionTensor::into_ir))
        .collect();
    let present: Vec<_> = inputs.iter().flatten().cloned().collect();
    let ir = OperationIr::Custom(CustomOpIr::new(name, &present, &outputs));
    let call = Call::<B, _, N> {
        name,
        inputs,
        outputs,
        run,
        backend: PhantomData,
    };
    let mut results = client.register(streams, ir, call).into_iter();
    let first = std::array::from_fn(|_| results.next().expect("one for each form"));
    (first, results.next())
}
