//! The built-in letters and catalogues are part of the program: a new or changed file there rebuilds this crate.

fn main() {
    println!("cargo::rerun-if-changed=../../templates");
    println!("cargo::rerun-if-changed=../../locales");
}
