//! A device that grants a kernel as few storage buffers as WebGPU does, eight; a launch with more is refused by wgpu.

use cubecl::wgpu::{
    AutoGraphicsApi, RuntimeOptions, WgpuDevice, WgpuSetup, init_device, init_setup,
};
use cubecl_common::future::block_on;
use wgpu::{DeviceDescriptor, Features, Limits};

/// Opens the device, on the software adapter that tests run on.
pub(crate) fn device() -> WgpuDevice {
    let setup = init_setup::<AutoGraphicsApi>(&WgpuDevice::Cpu, RuntimeOptions::default());
    let limits = Limits {
        max_storage_buffers_per_shader_stage: 8,
        ..setup.adapter.limits()
    };
    let features = setup.adapter.features();
    let descriptor = DeviceDescriptor {
        required_features: features.difference(Features::MAPPABLE_PRIMARY_BUFFERS),
        required_limits: limits,
        // SAFETY: cubecl asks for them too, to pass its shaders unchecked; what it passes, it has made.
        experimental_features: unsafe { wgpu::ExperimentalFeatures::enabled() },
        ..Default::default()
    };
    let opened = block_on(setup.adapter.request_device(&descriptor));
    let (device, queue) = opened.expect("the adapter grants less than it has");
    let setup = WgpuSetup {
        device,
        queue,
        ..setup
    };
    init_device(setup, RuntimeOptions::default())
}
