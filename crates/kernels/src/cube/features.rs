//! What a device has that kernels are chosen by.

use burn_cubecl::CubeRuntime;

pub(super) fn describe<R: CubeRuntime>(device: &R::Device) -> Vec<(&'static str, String)> {
    let client = R::client(device);
    let properties = client.properties();
    let (hardware, features) = (&properties.hardware, &properties.features);
    let planes = match features.plane.is_empty() {
        true => "none".to_owned(),
        false => format!(
            "{} to {} units",
            hardware.plane_size_min, hardware.plane_size_max
        ),
    };
    let known = |count: Option<u32>| count.map_or("unknown".to_owned(), |count| count.to_string());
    vec![
        ("runtime", R::name(&client).to_owned()),
        (
            "shared",
            format!("{} bytes", hardware.max_shared_memory_size),
        ),
        ("bindings", hardware.max_bindings.to_string()),
        (
            "units",
            format!("{} in a cube", hardware.max_units_per_cube),
        ),
        ("planes", planes),
        (
            "matrices",
            format!("{} kinds of cmma", features.matmul.cmma.len()),
        ),
        ("processors", known(hardware.num_streaming_multiprocessors)),
    ]
}
