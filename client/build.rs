//! Puts the commit into the binary, for `--version`, as the server's build does.

#[path = "../server/build.rs"]
mod server;

fn main() {
    server::main();
}
