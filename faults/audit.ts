import { verify } from "../src/server/ledger/verify.ts";
import type { Database } from "../src/server/platform/db.ts";
import type { Story } from "./load.ts";
import { orderOf, priceOf } from "./world.ts";

/** Discrepancies, each with an example that names the request. */
export type Findings = {
  /** Answers that had a price. */
  answers: number;
  /** Answers with a price and without a usage row. */
  lost: string[];
  /** Requests that were billed more than once. */
  doubled: string[];
  /** Answers whose price differs from the usage row's, or from the price of the tokens. */
  different: string[];
  /** Usage rows that no client's observations explain: the client got an error, or never sent the request. */
  unexplained: string[];
  /** Usage rows that the client did not see because its connection ended. These are no faults. */
  unseen: number;
  /** Discrepancies that `verify` found. */
  books: string[];
};

type Row = Awaited<ReturnType<typeof rowsOf>>[number];

/** Matches every answer with a usage row, and every usage row with an answer. */
export async function audit(db: Database, stories: readonly Story[]): Promise<Findings> {
  const rows = await rowsOf(db);
  const findings: Findings = { answers: 0, lost: [], doubled: [], different: [], unexplained: [], unseen: 0, books: [] };
  const byRequest = new Map(rows.map((row) => [requestIdOf(row), row]));
  const billed = new Map<number, Row[]>();
  for (const row of rows) {
    if (row.countedBy !== "provider" || row.base + row.markup === 0n) continue;
    const number = orderOf(row.promptTokens, row.completionTokens);
    const story = number === null ? undefined : stories[number];
    if (number === null || story === undefined) {
      findings.unexplained.push(`${requestIdOf(row)}: nobody asked for ${row.promptTokens} and ${row.completionTokens} tokens`);
      continue;
    }
    billed.set(number, [...(billed.get(number) ?? []), row]);
  }

  const seen = new Set<string>();
  for (const { order, priced } of stories) {
    for (const { requestId, credits, balance, replayed } of priced) {
      findings.answers++;
      // A replayed answer has a request id of its own; its usage row is that of the first request.
      const row = replayed ? billed.get(order.number)?.[0] : byRequest.get(requestId);
      if (row === undefined) {
        findings.lost.push(`${requestId}: named ${credits} credits and has no usage row`);
        continue;
      }
      seen.add(row.id);
      const charged = row.base + row.markup;
      if (charged !== credits)
        findings.different.push(
          `${requestId}: named ${credits} credits ${balance === null ? "without" : "with"} a balance${replayed ? " again" : ""}, the books have ${charged} (${row.outcome})`,
        );
    }
  }

  for (const [number, ofOrder] of billed) {
    if (ofOrder.length > 1) findings.doubled.push(`request ${number} is billed as ${ofOrder.map(requestIdOf).join(" and ")}`);
  }
  for (const [number, [row]] of billed) {
    const story = stories[number] as Story;
    const expected = priceOf(story.order, story.payer.markupBps);
    // A bill is at most the hold, which may be less than the price for a payer with little credit.
    if (row !== undefined && row.base + row.markup < row.held && row.base + row.markup !== expected)
      findings.different.push(`${requestIdOf(row)}: costs ${expected} credits, the books have ${row.base + row.markup}`);
  }

  /** Requests that ended before the client received their id. */
  let nameless = stories.reduce(
    (sum, { cutOff, begun, priced }) => sum + Math.max(cutOff - Math.max(begun.length - priced.length, 0), 0),
    0,
  );
  const byBegun = new Map(stories.flatMap((story) => story.begun.map((id) => [id, story] as const)));
  for (const row of rows) {
    if (seen.has(row.id) || row.base + row.markup === 0n) continue;
    const id = requestIdOf(row);
    const number = row.countedBy === "provider" ? orderOf(row.promptTokens, row.completionTokens) : null;
    const story = byBegun.get(id) ?? (number === null ? undefined : stories[number]);
    if (story === undefined && row.outcome === "interrupted" && nameless-- > 0) findings.unseen++;
    else if (story !== undefined && story.cutOff > 0) findings.unseen++;
    else findings.unexplained.push(`${id}: ${row.base + row.markup} credits (${row.outcome}), and its client had ${endOf(story)}`);
  }

  const report = await db.withoutTimeLimit((sql) => verify(sql));
  findings.books = report.discrepancies.map(({ rule, what, expected, found }) => `${rule}: ${what} should be ${expected} and is ${found}`);
  if (report.openHolds > 0) findings.books.push(`${report.openHolds} holds are still open`);
  return findings;
}

function endOf(story: Story | undefined): string {
  if (story === undefined) return "never asked for it";
  if (story.priced.length > 0) return `a price under ${story.priced.map(({ requestId }) => requestId).join(", ")}`;
  return story.refusals > 0 ? "an error" : "no end";
}

function requestIdOf(row: { id: string }): string {
  return `req_${row.id.replaceAll("-", "")}`;
}

function rowsOf(db: Database) {
  return db.prisma.usage.findMany({
    select: {
      id: true,
      base: true,
      markup: true,
      held: true,
      outcome: true,
      countedBy: true,
      promptTokens: true,
      completionTokens: true,
    },
  });
}
