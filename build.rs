//! Builds what of the plug-in host is C, for that program alone.

fn main() {
    println!("cargo::rerun-if-changed=plugin-host/log.c");
    let objects = cc::Build::new()
        .file("plugin-host/log.c")
        .warnings_into_errors(true)
        .compile_intermediates();
    for object in objects {
        println!(
            "cargo::rustc-link-arg-bin=ringway-plugin-host={}",
            object.display()
        );
    }
}
