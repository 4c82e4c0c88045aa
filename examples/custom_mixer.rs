//! A token mixer of one's own learns what the first layer's attention says of 128 tokens: `custom_mixer MODEL`.
#![allow(clippy::print_stdout)]

use burn::backend::{Autodiff, Flex};
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams, Optimizer};
use burn::{module::Module, tensor::Tensor, tensor::backend::Backend};

/// A projection of the average of all tokens so far, and one of the token.
#[derive(Module, Debug)]
struct Average<B: Backend> {
    past: Linear<B>,
    own: Linear<B>,
}

impl<B: Backend> Average<B> {
    fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let past = Tensor::<B, 2>::ones([x.dims()[1]; 2], &x.device()).tril(0);
        let shares = (past.clone() / past.sum_dim(1)).unsqueeze::<3>();
        self.past.forward(shares.matmul(x.clone())) + self.own.forward(x)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: custom_mixer MODEL")?;
    let model = model::load::<Flex>(path, &Default::default())?.model;
    let x = model.block_inputs(Tensor::arange(0..128, &model.device()).unsqueeze());
    let said = model.block_output(0, x[0].clone(), model::BlockOutput::Mixer);
    let [x, said] = [x[0].clone(), said].map(Tensor::<Autodiff<Flex>, 3>::from_inner);
    let [past, own] =
        [(); 2].map(|()| LinearConfig::new(x.dims()[2], x.dims()[2]).init(&x.device()));
    let (mut mixer, mut adamw) = (Average { past, own }, AdamWConfig::new().init());
    for step in 0..200 {
        let loss = (mixer.forward(x.clone()) - said.clone()).square().mean();
        println!("step {step}: {}", loss.clone().into_scalar());
        let gradients = GradientsParams::from_grads(loss.backward(), &mixer);
        mixer = adamw.step(3e-3, mixer, gradients);
    }
    Ok(())
}
