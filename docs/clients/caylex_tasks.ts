// A client for the agent-task API, to copy into a project: TypeScript for node 18 or later, and
// nothing else. Node 22.18 and later run it as it is.
//
//   const caylex = new Caylex("https://tasks.example.com/api/v1", { token: "cpt_…", apiKey: "ck_…" });
//   const taskId = await caylex.submit({ user_email: "jane@example.com", prompt: "Count the tickets." });
//   for await (const event of caylex.events(taskId)) console.log(event.type);
//   console.log((await caylex.wait(taskId)).report);

import { createHmac, randomUUID, timingSafeEqual } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

export type Status = "PENDING" | "RUNNING" | "COMPLETED" | "INCOMPLETE" | "FAILED";

/** As a poll shows it; the API guide lists the other keys. */
export interface Task {
  task_id: string;
  session_id: string;
  status: Status;
  terminal: boolean;
  stop_reason: string | null;
  report: string | null;
  error: string | null;
  [more: string]: unknown;
}

export interface TaskEvent {
  id: number;
  type: string;
  created_at: string;
  data: Record<string, unknown>;
}

/** The fields of a submit; the API guide lists the other options. */
export interface Submission {
  user_email: string;
  prompt: string;
  skill_ref?: string;
  model?: string;
  [option: string]: unknown;
}

/** What is wrong with one field of a request. */
export interface FieldProblem {
  field: string;
  code: string;
  message: string;
}

/** What goes beside the body of a request that does something. */
export interface Doing {
  idempotencyKey?: string;
}

export type Limits = Record<string, number>;
export type Json = Record<string, any>;

interface Problem {
  code?: string;
  detail?: string;
  request_id?: string;
  errors?: FieldProblem[];
}

interface Sending {
  body?: object;
  headers?: Record<string, string>;
}

const ATTEMPTS = 5; // of a request that is safe to send again
const BUSY = new Set([429, 502, 503, 504]); // the service asks to come again
const HOLD = 30; // seconds that a poll may be held
const TOLERANCE = 300; // seconds that a webhook's clock may differ from ours

/**
 * The service refused. `status` and `code` are for programs, `detail` for people; name `requestId`
 * when you ask for help. `errors` holds each field that is wrong.
 */
export class CaylexError extends Error {
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly requestId: string;
  readonly errors: FieldProblem[];

  constructor(status: number, body: Problem) {
    const { code = "", detail = "no words of the service", request_id: requestId = "" } = body;
    super(`${status} ${code}: ${detail} (${requestId})`);
    this.status = status;
    this.code = code;
    this.detail = detail;
    this.requestId = requestId;
    this.errors = body.errors ?? [];
  }
}

/** The webhook is not from the service, or too old. */
export class BadSignature extends Error {}

/** One service, one tenant's token, one navigator's key. */
export class Caylex {
  readonly #base: string;
  readonly #token: string;
  readonly #apiKey: string;

  constructor(url: string, { token, apiKey }: { token: string; apiKey: string }) {
    this.#base = url.replace(/\/*$/, "/");
    this.#token = token;
    this.#apiKey = apiKey;
  }

  /**
   * Submit a task and return its id; fields as the API guide lists them. Where no answer comes it
   * is sent again under the same key, so there is one task. Keep a key of your own with your order
   * if your process may die in between.
   */
  async submit(
    fields: Submission,
    { idempotencyKey = randomUUID() }: { idempotencyKey?: string } = {},
  ): Promise<string> {
    const body = { caylex_api_key: this.#apiKey, ...fields };
    const headers = { "Idempotency-Key": idempotencyKey };
    const response = await this.#ask("POST", "agent-task", { body, headers });
    return (await response.json()).task_id;
  }

  /** The task as it stands. */
  async get(taskId: string): Promise<Task> {
    return (await this.#ask("GET", `agent-task/${taskId}`)).json();
  }

  /** The task once it has ended; throws after `timeout` seconds. */
  async wait(taskId: string, { timeout = Infinity }: { timeout?: number } = {}): Promise<Task> {
    const deadline = Date.now() + timeout * 1000;
    let headers: Record<string, string> = {};
    for (let left = timeout; left > 0; left = (deadline - Date.now()) / 1000) {
      const hold = Math.floor(Math.min(HOLD, left));
      const response = await this.#ask("GET", `agent-task/${taskId}?wait=${hold}`, { headers });
      if (response.status === 200) {
        const task = await response.json();
        if (task.terminal) return task;
        headers = { "If-None-Match": response.headers.get("ETag") ?? "" };
      }
      if (hold === 0) await sleep(Math.min(1000, Math.max(0, deadline - Date.now())));
    }
    throw new Error(`The task ${taskId} has not ended in time.`);
  }

  /**
   * Each event once, as it happens, until the task has ended; cuts are mended. `after` is the id
   * of the last event that you have.
   */
  async *events(taskId: string, { after }: { after?: number } = {}): AsyncGenerator<TaskEvent> {
    let last = after;
    for (let fruitless = 1; fruitless <= ATTEMPTS; fruitless += 1) {
      let pause = 100 * 2 ** fruitless;
      try {
        for await (const [name, value] of this.#stream(taskId, last)) {
          if (name === "data") {
            const event = JSON.parse(value) as TaskEvent;
            last = event.id;
            fruitless = 0;
            yield event;
          } else {
            pause = Number(value);
          }
        }
        if (await this.#isOver(taskId, last)) return;
      } catch (error) {
        if (!isCut(error)) throw error;
      }
      await sleep(pause);
    }
    throw new Error(`The events of ${taskId} cannot be read.`);
  }

  /** A page of events; `next_starting_after` is the `after` of the next. */
  async eventsPage(
    taskId: string,
    { after, limit = 100 }: { after?: number; limit?: number } = {},
  ): Promise<Json> {
    const query = new URLSearchParams({ limit: String(limit) });
    if (after !== undefined) query.set("starting_after", String(after));
    return (await this.#ask("GET", `agent-task/${taskId}/events?${query}`)).json();
  }

  /** What was said so far, oldest first. */
  async *transcript(taskId: string): AsyncGenerator<Json> {
    for (let cursor = "", more = true; more; ) {
      const path = `agent-task/${taskId}/transcript?limit=100&cursor=${cursor}`;
      const page = await (await this.#ask("GET", path)).json();
      yield* page.messages;
      [cursor, more] = [page.next_cursor ?? "", page.has_more];
    }
  }

  /** The calls of tools so far, a group for each step; poll for the session's id. */
  async *trace(sessionId: string): AsyncGenerator<Json> {
    for (let offset = 0, more = true; more; offset += 100) {
      const path = `queries/query-logs/${sessionId}/trace?limit=100&offset=${offset}`;
      const page = await (await this.#ask("GET", path)).json();
      yield* page.tool_call_groups;
      more = page.meta.has_next;
    }
  }

  /** Your tasks, the newest first; filters as the API guide lists them. */
  async *tasks(
    { metadata = {}, ...filters }: { metadata?: Record<string, string>; [filter: string]: any } = {},
  ): AsyncGenerator<Task> {
    const pairs = Object.entries(metadata).map(([key, value]) => [`metadata[${key}]`, value]);
    const query = new URLSearchParams({ size: "100", ...filters, ...Object.fromEntries(pairs) });
    for (let more = true; more; ) {
      const page = await (await this.#ask("GET", `agent-task?${query}`)).json();
      yield* page.items;
      more = page.meta.has_next;
      query.set("cursor", page.meta.next_cursor ?? "");
    }
  }

  /** Ask the task to stop; it has ended where `terminal` is true, else it soon will. */
  cancel(taskId: string, { reason, ...doing }: { reason?: string } & Doing = {}): Promise<Task> {
    return this.#act(taskId, "cancel", { reason }, doing);
  }

  /** Resume a FAILED or INCOMPLETE task; 409 in any other state. */
  retry(taskId: string, { limits, ...doing }: { limits?: Limits } & Doing = {}): Promise<Task> {
    return this.#act(taskId, "retry", { limits }, doing);
  }

  /** Give a task that has ended a further instruction; 409 otherwise. */
  continueTask(
    taskId: string,
    message: string,
    { limits, ...doing }: { limits?: Limits } & Doing = {},
  ): Promise<Task> {
    return this.#act(taskId, "continue", { message, limits }, doing);
  }

  /** Make a new task of what an ended one was asked, and return its id. */
  async rerun(taskId: string, doing: Doing = {}): Promise<string> {
    return (await this.#act(taskId, "rerun", {}, doing)).task_id;
  }

  /** Set pairs of the task's metadata, and remove those that are null. */
  async changeMetadata(taskId: string, metadata: Record<string, string | null>): Promise<Task> {
    return (await this.#ask("PATCH", `agent-task/${taskId}`, { body: { metadata } })).json();
  }

  /** Delete a task that has ended; 409 for one that has not. */
  async delete(taskId: string): Promise<void> {
    await this.#ask("DELETE", `agent-task/${taskId}`);
  }

  /** Do something with a task once, however often it has to be sent. */
  async #act(
    taskId: string,
    verb: string,
    body: object,
    { idempotencyKey = randomUUID() }: Doing,
  ): Promise<Task> {
    const headers = { "Idempotency-Key": idempotencyKey };
    return (await this.#ask("POST", `agent-task/${taskId}/${verb}`, { body, headers })).json();
  }

  /** The answer to a request that does no harm when it is sent again. */
  async #ask(method: string, path: string, options?: Sending): Promise<Response> {
    for (let attempt = 1; ; attempt += 1) {
      let pause = 100 * 2 ** attempt;
      try {
        const response = await this.#send(method, path, options);
        if (!BUSY.has(response.status) || attempt === ATTEMPTS) return await checked(response);
        pause = Number(response.headers.get("Retry-After")) * 1000 || pause;
        await response.body?.cancel();
      } catch (error) {
        if (!isCut(error) || attempt === ATTEMPTS) throw error;
      }
      await sleep(pause);
    }
  }

  #send(method: string, path: string, { body, headers = {} }: Sending = {}): Promise<Response> {
    return fetch(new URL(path, this.#base), {
      method,
      body: body && JSON.stringify(body),
      headers: {
        Authorization: `Bearer ${this.#token}`,
        ...(body && { "Content-Type": "application/json" }),
        ...headers,
      },
    });
  }

  /** The fields of one stream that the reader needs, whole ones only. */
  async *#stream(taskId: string, last: number | undefined): AsyncGenerator<[string, string]> {
    const headers: Record<string, string> = { Accept: "text/event-stream" };
    if (last !== undefined) headers["Last-Event-ID"] = String(last);
    const response = await this.#send("GET", `agent-task/${taskId}/events`, { headers });
    if (BUSY.has(response.status)) return void (await response.body?.cancel());
    const decoder = new TextDecoder();
    let text = "";
    for await (const part of (await checked(response)).body ?? []) {
      const events = (text + decoder.decode(part, { stream: true })).split("\n\n");
      text = events.pop() ?? "";
      for (const line of events.join("\n").split("\n")) {
        const found = /^(data|retry): (.*)$/.exec(line);
        if (found) yield [found[1], found[2]];
      }
    }
  }

  /** Tell whether a stream ended because there is no more to come. */
  async #isOver(taskId: string, last: number | undefined): Promise<boolean> {
    const page = await this.eventsPage(taskId, { after: last, limit: 1 });
    return page.terminal && page.events.length === 0;
  }
}

/**
 * What a webhook says once it is known to be from the service. `secret` is the endpoint's
 * (`whsec_…`), `body` the bytes as they came: do not parse them before. The form is that of
 * Standard Webhooks. An event may come more than once, with the same `webhook-id`. `now` is in
 * seconds since 1970.
 */
export function verifyWebhook(
  secret: string,
  headers: Record<string, string | string[] | undefined>,
  body: Buffer,
  { now = Date.now() / 1000 }: { now?: number } = {},
): Record<string, unknown> {
  const given = Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name.toLowerCase(), String(value ?? "")]),
  );
  const sentAt = given["webhook-timestamp"] ?? "";
  if (!/^[0-9]+$/.test(sentAt)) throw new BadSignature("There is no webhook-timestamp.");
  if (Math.abs(now - Number(sentAt)) > TOLERANCE) {
    throw new BadSignature("The webhook is too old, or the clocks differ.");
  }
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const expected = createHmac("sha256", key)
    .update(`${given["webhook-id"] ?? ""}.${sentAt}.`)
    .update(body)
    .digest();
  for (const each of (given["webhook-signature"] ?? "").split(" ")) {
    const [version, signature = ""] = each.split(",");
    const received = Buffer.from(signature, "base64");
    if (version !== "v1" || received.length !== expected.length) continue;
    if (timingSafeEqual(received, expected)) return JSON.parse(body.toString());
  }
  throw new BadSignature("No signature fits.");
}

async function checked(response: Response): Promise<Response> {
  if (response.ok || response.status === 304) return response;
  throw new CaylexError(response.status, await response.json().catch(() => ({})));
}

/** A connection that could not be made or broke. */
function isCut(error: unknown): boolean {
  return error instanceof TypeError;
}
