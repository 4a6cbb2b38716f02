//! Puts load on etcd and measures it, as `kvpaxos-client bench` does with kvpaxos.
//!
//! Each client has a connection of its own to one member and one request outstanding; clients are spread over the members.
//! What is answered after the end of the measured part does not count. Reads are linearizable, as is etcd's default.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use etcd_client::{Client, Txn, TxnOp};
use hdrhistogram::Histogram;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How long members may take until they answer for the first time.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long a member that does not answer yet is left alone.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// How many clients fill in keys.
const FILLING_CLIENTS: usize = 16;

/// etcd takes up to 128 operations in a transaction by default, and up to 1.5 MiB in a request.
const FILLING_OPERATIONS_MAX: usize = 100;
const FILLING_BYTES_MAX: usize = 1 << 20;

/// The longest time that is told from longer ones.
const LATENCY_US_MAX: u64 = 600_000_000;

/// Puts load on etcd and prints one JSON object
#[derive(Clone, Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    /// Where the members listen for clients: HOST:PORT,...
    #[arg(long, value_name = "LIST", value_delimiter = ',', required = true)]
    endpoints: Vec<String>,
    /// What the clients do
    #[arg(long, value_enum)]
    op: LoadOperation,
    /// How many clients, each with a connection of its own and one request outstanding: 1 to 10000
    #[arg(long, value_name = "COUNT", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// How long values are: 0 to 1000000
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    value_bytes: u32,
    /// How many keys there are: 1 to 100000000
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    keys: u32,
    /// How long to measure: above 0, up to 86400; not for --op fill
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    seconds: Duration,
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 86_400.0 => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("it must be a number above 0 and up to 86400".to_owned()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LoadOperation {
    /// Wait until every member answers, and put every key once
    Fill,
    /// Replace values of random keys
    Put,
    /// Read random keys, linearizably
    Get,
}

impl LoadOperation {
    fn name(self) -> &'static str {
        match self {
            Self::Fill => "fill",
            Self::Put => "put",
            Self::Get => "get",
        }
    }
}

impl Arguments {
    fn value(&self) -> Vec<u8> {
        let mut value = vec![0; self.value_bytes as usize];
        SmallRng::from_os_rng().fill(value.as_mut_slice());
        value
    }

    /// The address of the member that a client talks to.
    fn endpoint_of(&self, client: usize) -> String {
        self.endpoints[client % self.endpoints.len()].clone()
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.op {
        LoadOperation::Fill => fill(&arguments).await,
        LoadOperation::Put | LoadOperation::Get => load(&arguments).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("etcd-load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// As long as those of `kvpaxos-client bench`.
fn key(number: u32) -> String {
    format!("bench/{number:08}")
}

async fn fill(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    for endpoint in &arguments.endpoints {
        wait_until_ready(endpoint).await?;
    }
    let value = arguments.value();
    let batch = (FILLING_BYTES_MAX / (value.len() + 64)).clamp(1, FILLING_OPERATIONS_MAX);
    let mut tasks = JoinSet::new();
    for filler in 0..FILLING_CLIENTS {
        let (endpoint, value, keys) =
            (arguments.endpoint_of(filler), value.clone(), arguments.keys);
        tasks.spawn(async move {
            let mut client = Client::connect([endpoint], None).await?;
            let starts = (0..keys)
                .step_by(batch)
                .skip(filler)
                .step_by(FILLING_CLIENTS);
            for start in starts {
                let end = keys.min(start + batch as u32);
                let puts = (start..end).map(|number| TxnOp::put(key(number), value.clone(), None));
                client
                    .txn(Txn::new().and_then(puts.collect::<Vec<_>>()))
                    .await?;
            }
            Ok::<(), etcd_client::Error>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// A linearizable read is answered only where a leader is known.
async fn wait_until_ready(endpoint: &str) -> Result<(), Box<dyn Error>> {
    let end = Instant::now() + READY_WITHIN;
    loop {
        let answer = async {
            Client::connect([endpoint], None)
                .await?
                .get("ready", None)
                .await
        };
        match answer.await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() >= end => {
                return Err(format!("{endpoint} does not answer: {error}").into());
            }
            Err(_) => sleep(ASK_AGAIN_AFTER).await,
        }
    }
}

/// What one client, or all, measured.
#[derive(Debug)]
struct Measure {
    latency_us: Histogram<u64>,
    errors: u64,
    first_error: Option<String>,
}

impl Measure {
    fn new() -> Self {
        Self {
            latency_us: Histogram::new_with_max(LATENCY_US_MAX, 3)
                .expect("these bounds make a histogram"),
            errors: 0,
            first_error: None,
        }
    }

    fn add(&mut self, other: Self) {
        self.latency_us
            .add(&other.latency_us)
            .expect("all have the same bounds");
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }
}

async fn load(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let clients = arguments.clients as usize;
    // The measured part begins when all are connected.
    let connected = Arc::new(Barrier::new(clients + 1));
    let value = arguments.value();
    let mut tasks = JoinSet::new();
    for number in 0..clients {
        let (arguments, connected) = (arguments.clone(), Arc::clone(&connected));
        let mut client = Client::connect([arguments.endpoint_of(number)], None).await?;
        client.get("connected", None).await?;
        let value = value.clone();
        tasks.spawn(async move {
            connected.wait().await;
            let end = Instant::now() + arguments.seconds;
            run_client(client, &arguments, value, end).await
        });
    }
    connected.wait().await;
    let mut all = Measure::new();
    while let Some(ended) = tasks.join_next().await {
        all.add(ended?);
    }
    report(arguments, &all);
    Ok(())
}

async fn run_client(
    mut client: Client,
    arguments: &Arguments,
    value: Vec<u8>,
    end: Instant,
) -> Measure {
    let mut random = SmallRng::from_os_rng();
    let mut measure = Measure::new();
    loop {
        let key = key(random.random_range(0..arguments.keys));
        let start = Instant::now();
        let result = match arguments.op {
            LoadOperation::Get => read(&mut client, key).await,
            LoadOperation::Put | LoadOperation::Fill => {
                let put = client.put(key, value.clone(), None).await;
                put.map(|_| ()).map_err(|error| error.to_string())
            }
        };
        let now = Instant::now();
        if now >= end {
            return measure;
        }
        match result {
            Ok(()) => {
                let took_us = u64::try_from((now - start).as_micros()).unwrap_or(u64::MAX);
                measure.latency_us.saturating_record(took_us);
            }
            Err(error) => {
                measure.errors += 1;
                measure.first_error.get_or_insert(error);
            }
        }
    }
}

/// Reading nothing is cheaper than reading a value, so a key that is absent is an error here.
async fn read(client: &mut Client, key: String) -> Result<(), String> {
    let answer = client.get(key.as_str(), None).await;
    match answer.map_err(|error| error.to_string())?.kvs() {
        [] => Err(format!("{key} is absent; --op fill puts every key")),
        _ => Ok(()),
    }
}

fn report(arguments: &Arguments, measure: &Measure) {
    let (ops, seconds) = (measure.latency_us.len(), arguments.seconds.as_secs_f64());
    let object = json!({
        "op": arguments.op.name(),
        "clients": arguments.clients,
        "value_bytes": arguments.value_bytes,
        "keys": arguments.keys,
        "seconds": seconds,
        "ops": ops,
        "ops_per_s": ops as f64 / seconds,
        "p50_us": measure.latency_us.value_at_quantile(0.5),
        "p99_us": measure.latency_us.value_at_quantile(0.99),
        "errors": measure.errors,
        "first_error": measure.first_error,
    });
    println!("{object}");
}
