// Submit a background task and wait for its report, with nothing but node (18 or later).
//
//   CAYLEX_API_URL         where the service is, e.g. https://tasks.example.com/api/v1/
//   CAYLEX_PLATFORM_TOKEN  your tenant's platform access token
//   CAYLEX_API_KEY         the key of the navigator that runs the task
//
//   node agent_task.mjs jane@example.com "Count last week's tickets." [skill]

import process from "node:process";
import { setTimeout as pause } from "node:timers/promises";
import { pathToFileURL } from "node:url";

const FINISHED = new Set(["COMPLETED", "INCOMPLETE", "FAILED"]);

/** Ask the API and return the parsed answer; an error answer is thrown with its own words. */
async function ask(path, options = {}) {
  const base = process.env.CAYLEX_API_URL.replace(/\/*$/, "/");
  const response = await fetch(new URL(path, base), {
    ...options,
    headers: {
      Authorization: `Bearer ${process.env.CAYLEX_PLATFORM_TOKEN}`,
      ...(options.body && { "Content-Type": "application/json" }),
    },
  });
  const body = await response.json();
  if (!response.ok) {
    throw new Error(`${response.status} ${body.code}: ${body.detail} (${body.request_id})`);
  }
  return body;
}

/** Submit a task and return its id; `fields` as the API guide lists them. */
export async function submit(fields) {
  const accepted = await ask("agent-task", {
    method: "POST",
    body: JSON.stringify({ caylex_api_key: process.env.CAYLEX_API_KEY, ...fields }),
  });
  for (const warning of [accepted.model_warning, accepted.skill_warning]) {
    if (warning) console.error(warning);
  }
  return accepted.task_id;
}

/** Poll until the task has ended and return it; `seconds` between polls, else as advised. */
export async function waitFor(taskId, seconds) {
  for (;;) {
    const task = await ask(`agent-task/${taskId}`);
    if (FINISHED.has(task.status)) return task;
    await pause(seconds === undefined ? task.poll_after_ms : seconds * 1000);
  }
}

async function main([userEmail, prompt, skillRef]) {
  const taskId = await submit({ user_email: userEmail, prompt, skill_ref: skillRef });
  const every = process.env.POLL_SECONDS;
  const task = await waitFor(taskId, every === undefined ? undefined : Number(every));
  console.log(JSON.stringify(task, null, 2));
  return task.status === "COMPLETED" ? 0 : 1;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  process.exitCode = await main(process.argv.slice(2));
}
