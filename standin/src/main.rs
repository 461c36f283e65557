//! `authgear-standin`: an Authgear server for tests, an echoing backend, a token mint.

use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;

use authgear_standin::{client, echo, serve};
use clap::{Parser, Subcommand};
use serde::Serialize;
use tokio::signal::unix::{signal, SignalKind};
use tokio::sync::oneshot;

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve discovery, key set and resolver, and the control API
    Serve {
        #[command(flatten)]
        options: serve::Options,
        #[command(flatten)]
        life: Life,
    },
    /// Serve a backend that answers with the request it received
    Echo {
        #[command(flatten)]
        options: echo::Options,
        #[command(flatten)]
        life: Life,
    },
    /// Mint tokens over the control API and print them, one a line
    Token(client::TokenOptions),
}

#[derive(clap::Args)]
struct Life {
    /// End when standard input does, so as not to outlive the parent
    #[arg(long)]
    exit_with_stdin: bool,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("authgear-standin: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match command {
            Command::Serve { options, life } => {
                let mut running = serve::start(options).await?;
                let end = end(&life)?;
                announce(&running.announcement)?;
                tokio::select! {
                    failed = running.failed() => failed?,
                    () = end => {}
                }
            }
            Command::Echo { options, life } => {
                let (listener, announcement) = echo::listen(&options)?;
                let end = end(&life)?;
                announce(&announcement)?;
                tokio::select! {
                    () = echo::run(listener) => {}
                    () = end => {}
                }
            }
            Command::Token(options) => {
                client::tokens(&options, |token| println!("{token}")).await?;
            }
        }
        Ok(())
    })
}

fn announce(announcement: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(announcement)?)?;
    out.flush()
}

/// SIGTERM, SIGINT, or the end of standard input where that counts.
fn end(life: &Life) -> io::Result<impl std::future::Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (ended, stdin) = oneshot::channel();
    let watch = life.exit_with_stdin;
    if watch {
        std::thread::spawn(move || {
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            let _ = ended.send(());
        });
    }
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            Ok(()) = stdin, if watch => {}
        }
    })
}
