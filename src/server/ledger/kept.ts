import { mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import { v7 as uuidv7 } from "uuid";
import { z } from "zod";
import { env } from "#env";
import { log } from "../platform/log.ts";
import { type Sql, toBigInt } from "../platform/sql.ts";
import { type Settlement, settle } from "./hold.ts";

/**
 * Settlements that the database did not commit in time, on disk: an answer may name its
 * price before the bill is committed, but not before it is on disk.
 *
 * Settlements that arrive together share a file. It is written under a temporary name, synced and
 * renamed, so that readers find whole files only, which never change. Entering a file twice changes
 * nothing, because a hold resolves once. So any process that sees the folder may enter any file at
 * any time, and need not know whether the process that wrote it still runs.
 * A line has ids, amounts and counts: no prompt, no answer, no credential.
 */
export class KeptSettlements {
  readonly #folder: string;
  #waiting: Waiting[] = [];
  #writing = false;
  /** Files and settlements that could not be entered, so that each is logged once. */
  readonly #logged = new Set<string>();

  /** The first `keep` makes the folder; by default it is beside the embedded database, in QUOTA_DATA_DIR. */
  constructor(folder: string = path.join(env.QUOTA_DATA_DIR, "unbilled")) {
    this.#folder = folder;
  }

  /**
   * Resolves when the settlement is synced to disk, where it survives a crash of the machine.
   * Rejects when it can't be written.
   */
  keep(settlement: Settlement): Promise<Kept> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ settlement, resolve, reject });
      if (!this.#writing) void this.#write();
    });
  }

  async #write(): Promise<void> {
    this.#writing = true;
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, MOST_IN_A_FILE);
      try {
        const file = await this.#file(batch.map(({ settlement }) => `${toLine(settlement)}\n`).join(""));
        let left = batch.length;
        const forget = async () => {
          // A file that can't be removed is entered again, which changes nothing.
          if (--left === 0) await rm(file, { force: true }).catch(() => {});
        };
        for (const { resolve } of batch) resolve({ forget });
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    this.#writing = false;
  }

  async #file(text: string): Promise<string> {
    const made = await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const file = path.join(this.#folder, `${uuidv7()}${COMPLETE}`);
    const handle = await open(`${file}${UNFINISHED}`, "wx", 0o600);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(`${file}${UNFINISHED}`, file);
    await syncFolder(this.#folder);
    if (made !== undefined) await syncFolder(path.dirname(made));
    return file;
  }

  /**
   * Enters the settlements in the folder, of every process, and removes files without an open
   * settlement. Throws when the database is unreachable; the files that are left stay for the next call.
   *
   * A settlement whose hold the sweeper has returned can't be billed any more: it is logged
   * as an error with its request id, and counted as `late`. A settlement whose hold is not in
   * this database stays in its file.
   */
  async enter(sql: Sql): Promise<{ entered: number; late: number }> {
    const total = { entered: 0, late: 0 };
    for (const name of (await readdir(this.#folder).catch(absent)) ?? []) {
      const file = path.join(this.#folder, name);
      if (name.endsWith(UNFINISHED)) await this.#removeUnfinished(file);
      if (!name.endsWith(COMPLETE)) continue;
      // Absent when another process has entered and removed it.
      const text = await readFile(file, "utf8").catch(absent);
      if (text === undefined) continue;
      const settlements = fromLines(text);
      if (settlements === null) {
        this.#logOnce(name, "kept settlements can't be read", { file });
        continue;
      }
      let resolved = 0;
      for (const settlement of settlements) {
        const became = await this.#enterOne(sql, settlement);
        if (became !== "open") resolved++;
        if (became === "entered" || became === "late") total[became]++;
      }
      if (resolved === settlements.length) await rm(file, { force: true });
    }
    return total;
  }

  async #enterOne(sql: Sql, settlement: Settlement): Promise<"entered" | "late" | "known" | "open"> {
    const fields = { request_id: settlement.id, credits: settlement.base + settlement.markup };
    let kind: string | undefined;
    try {
      kind = (await settle(sql, [settlement]))[0]?.kind;
    } catch (error) {
      // The file's other settlements are entered all the same.
      if (!/^2[23]/.test(String((error as { code?: unknown }).code))) throw error;
      this.#logOnce(settlement.id, "a kept settlement can't be entered", { ...fields, error });
      return "open";
    }
    if (kind === "settled") return "entered";
    if (kind !== "already_resolved") {
      this.#logOnce(settlement.id, "a kept settlement is of a hold that this database does not have", fields);
      return "open";
    }
    if ((await resolutionOf(sql, settlement.id))?.outcome !== "swept") return "known";
    log.error("a kept settlement came after its hold was returned: the request is not billed", fields);
    return "late";
  }

  #logOnce(what: string, message: string, fields: Record<string, unknown>): void {
    if (this.#logged.has(what)) return;
    this.#logged.add(what);
    log.error(message, fields);
  }

  /**
   * Removes what a crash left unfinished: `keep` did not resolve for it, so no answer named its prices. A younger file may
   * still be written by another process.
   */
  async #removeUnfinished(file: string): Promise<void> {
    const found = await stat(file).catch(absent);
    if (found !== undefined && Date.now() - found.mtimeMs > UNFINISHED_FOR_MS) await rm(file, { force: true });
  }
}

export type Kept = {
  /** For when the settlement has been committed: its file is removed when all that are in it have been. Never throws. */
  forget(): Promise<void>;
};

type Waiting = { settlement: Settlement; resolve(kept: Kept): void; reject(error: unknown): void };

const MOST_IN_A_FILE = 1_000;
const COMPLETE = ".jsonl";
const UNFINISHED = ".half";
const UNFINISHED_FOR_MS = 10 * 60_000;

/** How a hold was resolved, and what its payer was charged, in credits; null when it has no usage record. */
export async function resolutionOf(sql: Sql, id: string): Promise<{ outcome: Settlement["outcome"]; charged: bigint } | null> {
  const [row] = await sql.query(resolutionStatement, [id]);
  if (row === undefined) return null;
  return { outcome: row.outcome as Settlement["outcome"], charged: toBigInt(row.charged) };
}

const resolutionStatement = {
  name: "ledger_resolution",
  text: `SELECT outcome::text AS outcome, (base + markup)::text AS charged FROM usage WHERE id = $1::uuid`,
};

const count = z.int().min(0).max(2_147_483_647);
const amount = z
  .string()
  .regex(/^\d{1,18}$/)
  .transform(BigInt);
const line: z.ZodType<Settlement> = z.object({
  id: z.uuid(),
  base: amount,
  markup: amount,
  outcome: z.enum(["completed", "interrupted", "failed", "swept"]),
  endpoint: z.string(),
  provider: z.string().nullable(),
  promptTokens: count,
  cachedTokens: count,
  completionTokens: count,
  countedBy: z.enum(["provider", "tokenizer"]).nullable(),
  streamed: z.boolean(),
  upstreamStatus: count.nullable(),
  durationMs: z.number().min(0),
});

function toLine(settlement: Settlement): string {
  return JSON.stringify(settlement, (_key, value: unknown) => (typeof value === "bigint" ? value.toString() : value));
}

function fromLines(text: string): Settlement[] | null {
  const settlements: Settlement[] = [];
  for (const each of text.split("\n").filter((part) => part !== "")) {
    const parsed = line.safeParse(parseJson(each));
    if (!parsed.success) return null;
    settlements.push(parsed.data);
  }
  return settlements;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** After a crash a file has its new name only if its folder was synced. Windows can't open folders to sync them. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === "win32") return;
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function absent(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  return undefined;
}
