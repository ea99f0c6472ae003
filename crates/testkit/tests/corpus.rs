use portreeve_testkit::fuzz;
#[test]
fn scratch() {
    let n: u64 = std::env::var("N").map_or(300, |n| n.parse().unwrap());
    let start: u64 = std::env::var("S").map_or(0, |n| n.parse().unwrap());
    let which = std::env::var("T").unwrap_or("model".into());
    for seed in start..start + n {
        let mut random = portreeve_testkit::Random::new(seed);
        let length = 20 + random.below(400) as usize;
        let data: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        let f = match &*which { "model" => fuzz::run_model, "frames" => fuzz::fuzz_frames, "tcp" => fuzz::fuzz_tcp_front, _ => fuzz::fuzz_spec };
        if std::panic::catch_unwind(|| f(&data)).is_err() { eprintln!("seed {seed}"); }
    }
}
