//! The built-in agent as a process of its own, for its tests: what `decklog __builtin` is.

fn main() {
    let env = |name: &str| std::env::var_os(name);
    let code = decklog_builtin::serve(&mut std::io::stdin().lock(), &mut std::io::stdout().lock(), &env);
    std::process::exit(code);
}
