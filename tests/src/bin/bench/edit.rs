//! From saving a file to the new answer, under `faas up --watch`.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::project::{Project, SAMPLE};
use crate::sample::{Sample, head};

/// Pause between two calls that look for the new answer. It is what the figures are too high by at
/// most; shorter ones would take the processor from what is measured.
const LOOK: Duration = Duration::from_millis(5);
/// Pause before a save: editors are slower, and the one before must be over.
const BETWEEN: Duration = Duration::from_millis(300);
/// Longest wait for the new answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The functions that are edited: name, file, and the text around a number.
const EDITED: [(&str, &str, &str); 3] = [
    (
        "on-node",
        "on-node/handler.js",
        "'use strict'\nmodule.exports = async (event, context) => context.succeed('edit-NUMBER.')\n",
    ),
    (
        "on-python",
        "on-python/handler.py",
        "def handle(event, context):\n    return {'statusCode': 200, 'body': 'edit-NUMBER.'}\n",
    ),
    (
        SAMPLE,
        "pinyin/handler.py",
        "from pypinyin import lazy_pinyin\n\ndef handle(event, context):\n    body = 'edit-NUMBER. '\n    \
         return {'statusCode': 200, 'body': body + str(lazy_pinyin('北'))}\n",
    ),
];

pub(crate) fn run(project: &Project, rounds: usize) -> Result<()> {
    let mut watch = project.spawn(&["up", "--watch"])?;
    let measured = measure(project, rounds);
    kill_process(Pid::from_child(&watch), Signal::INT)?;
    watch.wait()?;
    head("Edit to live: file saved to the first new answer, the whole loop");
    for ((_, file, _), sample) in EDITED.iter().zip(measured?) {
        println!("{}", sample.row(file));
    }
    Ok(())
}

fn measure(project: &Project, rounds: usize) -> Result<Vec<Sample>> {
    let mut samples: Vec<Sample> = EDITED.iter().map(|_| Sample::default()).collect();
    // The first save of each waits until the watch has begun, so it does not count.
    for round in 0..=rounds {
        for (index, (name, file, text)) in EDITED.iter().enumerate() {
            std::thread::sleep(BETWEEN);
            let number = format!("{round}");
            let text = text.replace("NUMBER", &number);
            let time = save(project, name, &project.path(file), &text)?;
            if round > 0 {
                samples[index].add(time);
            }
        }
    }
    Ok(samples)
}

/// Saves a file and calls until the answer is the new one. A call that fails ends the bench.
fn save(project: &Project, name: &str, file: &Path, text: &str) -> Result<Duration> {
    let wanted = text.split('\'').rfind(|part| part.starts_with("edit-")).unwrap_or_default();
    let start = Instant::now();
    std::fs::write(file, text)?;
    let mut saved = start;
    loop {
        let answer = project.call(name)?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "a call failed during a swap: {answer}");
        if answer.contains(wanted) {
            return Ok(start.elapsed());
        }
        ensure!(start.elapsed() < PATIENCE, "{name} never answered {wanted:?}");
        // Until the watch has begun nobody sees a save: once more now and then.
        if saved.elapsed() > Duration::from_secs(5) {
            std::fs::write(file, text)?;
            saved = Instant::now();
        }
        std::thread::sleep(LOOK);
    }
}
