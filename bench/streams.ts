import { request as httpRequest, type IncomingMessage } from "node:http";
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { migrate } from "../prisma/migrate.ts";
import { verify } from "../src/server/ledger/verify.ts";
import { openDatabase } from "../src/server/platform/db.ts";
import { makeApp, makeKey, makeLink, makeUser } from "../src/testing/makers.ts";
import { freshDatabase, startPostgres } from "../src/testing/postgres.ts";
import { forget, type ServerProcess, startServer } from "../src/testing/server-process.ts";
import { median } from "./figures.ts";
import { forgetPeak, memoryOf } from "./memory.ts";
import { startStreamingUpstream } from "./streaming-upstream.ts";

/**
 * `npm run bench:streams`: how much of the server's memory open streams take, and how much clients
 * that do not read can make it buffer. The built server, on a real Postgres:
 *
 * - a number of open streams, each on a connection of its own, with about 200 bytes every 250 ms;
 * - clients that do not read, of a provider that sends as fast as it can. Half of them read later,
 *   the others hang up.
 *
 * Provider and clients run in this process, which compares what they sent and received. Exits with
 * 1 when a stream was cut short, not billed or billed wrongly, when the server did not pause a
 * provider (back-pressure), or when the books do not balance.
 */
const { values: options } = parseArgs({
  options: {
    streams: { type: "string", default: "2000" },
    /** Long enough for each stream's buffers to reach their maximum. */
    seconds: { type: "string", default: "90" },
    stalled: { type: "string", default: "200" },
    /** MiB that the provider would send to each of those. */
    flood: { type: "string", default: "32" },
  },
});
const STREAMS = Number(options.streams);
const SECONDS = Number(options.seconds);
const STALLED = Number(options.stalled);
const FLOOD_MIB = Number(options.flood);
const WALLETS = 200;
const WARM_UP = 500;
const MIB = 1024 * 1024;
/** Enough for the chunk with the usage, and `[DONE]`. */
const TAIL_BYTES = 1_024;

const upstream = await startStreamingUpstream({ floodBytes: FLOOD_MIB * MIB });
const postgres = await startPostgres();
const fresh = await freshDatabase(postgres.url);
const db = await openDatabase({ url: fresh.url });
const app = { id: "", key: "", users: [] as string[] };
const wrong: string[] = [];
let server: ServerProcess | null = null;

try {
  await migrate(db);
  await makeShop();
  server = await startServer({ databaseUrl: fresh.url, upstream, env: { QUOTA_QUIET: "1" } });
  await main(server);
} finally {
  if (server !== null) {
    await server.kill9();
    await forget(server);
  }
  upstream.close();
  await db.close();
  await fresh.drop();
  await postgres.stop();
}

async function main({ pid, stop }: ServerProcess): Promise<void> {
  console.log(`${cpus().length} cores (${cpus()[0]?.model}), Node ${process.version}; resident memory of the server (VmRSS), in MiB\n`);

  for (let begun = 0; begun < WARM_UP; begun += 50) {
    const clients = await openAll("short", begun, 50, { reading: true });
    await Promise.all(clients.map((each) => each.ended));
    clients.forEach(expectWhole);
  }
  await seconds(5);
  const before = memoryOf(pid).now;

  forgetPeak(pid);
  const openedAt = performance.now();
  const steady = await openAll("steady", 0, STREAMS, { reading: true });
  const openedIn = (performance.now() - openedAt) / 1_000;
  const samples: number[] = [];
  for (let second = 0; second < SECONDS; second++) {
    await seconds(1);
    samples.push(memoryOf(pid).now);
  }
  const open = steady.filter((each) => upstreamOf(each).state === "open").length;
  if (open < STREAMS) wrong.push(`only ${open} of ${STREAMS} streams were open to the end`);
  const few = Math.max(1, Math.floor(SECONDS / 6));
  const [early, late] = [median(samples.slice(0, few)), median(samples.slice(-few))];
  upstream.endSteady();
  await Promise.all(steady.map((each) => each.ended));
  steady.forEach(expectWhole);
  await allBilled(WARM_UP + STREAMS);
  const { peak } = memoryOf(pid);
  await seconds(10);
  const rest = memoryOf(pid).now;
  console.log(`${STREAMS} streams open at once, opened in ${openedIn.toFixed(1)} s, held for ${SECONDS} s, a chunk every 250 ms each`);
  console.log(`${line("before")}${mib(before)}`);
  console.log(`${line(`first ${few} s`)}${mib(early)}   ${perStream(early - before, STREAMS)}`);
  console.log(`${line(`last ${few} s`)}${mib(late)}   ${perStream(late - before, STREAMS)}`);
  console.log(
    `${line("growth between them")}${mib(late - early)}   every 10 s: ${samples.filter((_, index) => index % 10 === 9).map((each) => each.toFixed(0))}`,
  );
  console.log(`${line("peak, ending included")}${mib(peak)}`);
  console.log(`${line("10 s after all ended")}${mib(rest)}\n`);

  forgetPeak(pid);
  const unread = await openAll("flood", 0, STALLED, { reading: false });
  const sent = () => unread.reduce((sum, each) => sum + upstreamOf(each).sent, 0) / MIB;
  let taken = sent();
  // Less than a minute in total, after which the server drops a client that reads nothing.
  for (let still = 0; still < 3; ) {
    await seconds(1);
    still = sent() === taken ? still + 1 : 0;
    taken = sent();
  }
  const stalledEarly = memoryOf(pid);
  await seconds(10);
  const stalledLate = memoryOf(pid);
  if (sent() > taken) wrong.push("a provider went on sending to clients that do not read");
  const through = unread.filter((each) => upstreamOf(each).sent >= FLOOD_MIB * MIB).length;
  if (through > 0) wrong.push(`${through} providers could send all they had to clients that do not read`);
  if (stalledLate.peak - rest > (STALLED * FLOOD_MIB) / 2) wrong.push("the server kept what clients do not read");
  const readOn = unread.slice(0, STALLED / 2);
  const hangUp = unread.slice(STALLED / 2);
  for (const each of readOn) each.read();
  for (const each of hangUp) each.hangUp();
  await Promise.all(unread.map((each) => each.ended));
  readOn.forEach(expectWhole);
  await allBilled(WARM_UP + STREAMS + STALLED);
  const { peak: peakReading } = memoryOf(pid);
  await seconds(10);
  const most = Math.max(...unread.map((each) => (upstreamOf(each).state === "aborted" ? upstreamOf(each).sent : 0))) / MIB;
  console.log(
    `${STALLED} clients that do not read, of a provider that would send ${FLOOD_MIB} MiB to each, ${(STALLED * FLOOD_MIB).toFixed(0)} MiB in all`,
  );
  console.log(`${line("before")}${mib(rest)}`);
  console.log(`${line("the provider waits")}${mib(stalledEarly.now)}   ${perStream(stalledEarly.now - rest, STALLED)}`);
  console.log(`${line("10 s later")}${mib(stalledLate.now)}   peak until then ${stalledLate.peak.toFixed(0)}`);
  console.log(`${line("peak, reading on")}${mib(peakReading)}`);
  console.log(`${line("10 s after all ended")}${mib(memoryOf(pid).now)}`);
  console.log(
    `  the provider was stopped after ${(taken / STALLED).toFixed(1)} MiB each (at most ${most.toFixed(1)} of those that hung up)\n`,
  );

  if ((await stop()) !== 0) wrong.push("the server did not end in order");
  await expectBilled();
  const books = await verify(db.sql);
  if (!books.ok) wrong.push(`the books are not in order: ${JSON.stringify(books.discrepancies.slice(0, 5))}`);
  if (books.openHolds > 0) wrong.push(`${books.openHolds} holds are open`);
  for (const each of wrong.slice(0, 20)) console.log(`WRONG: ${each}`);
  if (wrong.length > 0) process.exitCode = 1;
  else console.log(`${WARM_UP + STREAMS + STALLED} streams, each billed once; no open hold, the books are in order.`);
}

async function makeShop(): Promise<void> {
  const { id } = await makeApp(db, { markupBps: 2_000 });
  app.id = id;
  app.key = (await makeKey(db, id, "user")).secret;
  for (let index = 0; index < WALLETS; index++) {
    const user = await makeUser(db, { credits: 1_000_000_000n });
    app.users.push((await makeLink(db, id, user, index % 2 === 0 ? { monthlyLimit: 900_000_000n } : {})).externalUserId);
  }
}

/** One stream on the client's side. */
type Client = {
  message: string;
  /** Bytes received, and the last of them. */
  got: number;
  tail: string;
  ended: Promise<void>;
  read(): void;
  hangUp(): void;
};

/** Resolves when all streams are open. */
async function openAll(kind: string, first: number, count: number, { reading }: { reading: boolean }): Promise<Client[]> {
  const clients: Client[] = [];
  while (clients.length < count) {
    const group = Array.from({ length: Math.min(100, count - clients.length) }, (_, index) => {
      const number = first + clients.length + index;
      return openStream(`${kind} ${number}`, app.users[number % WALLETS] as string);
    });
    clients.push(...(await Promise.all(group)));
    if (reading) for (const each of clients.slice(-group.length)) each.read();
  }
  return clients;
}

function openStream(message: string, user: string): Promise<Client> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(server?.url ?? "");
    const outgoing = httpRequest({
      hostname,
      port,
      path: "/v1/chat/completions",
      method: "POST",
      // A connection for each stream.
      agent: false,
      headers: { authorization: `Bearer ${app.key}`, "x-quota-user": user, "content-type": "application/json" },
    });
    outgoing.once("error", reject);
    outgoing.once("response", (incoming: IncomingMessage) => {
      if (incoming.statusCode !== 200) reject(new Error(`a stream was refused with ${incoming.statusCode}`));
      const client: Client = {
        message,
        got: 0,
        tail: "",
        ended: new Promise((ended) => incoming.once("close", ended)),
        read() {
          incoming.on("data", (part: Buffer) => {
            client.got += part.length;
            client.tail = (client.tail + part.toString("latin1", Math.max(0, part.length - TAIL_BYTES))).slice(-TAIL_BYTES);
          });
        },
        hangUp: () => void incoming.destroy(),
      };
      incoming.on("error", () => {});
      resolve(client);
    });
    outgoing.end(
      JSON.stringify({ model: "gpt-4o-mini", max_tokens: 10_000, stream: true, messages: [{ role: "user", content: message }] }),
    );
  });
}

function upstreamOf({ message }: Client) {
  const stream = upstream.streams.get(message);
  if (stream === undefined) throw new Error(`"${message}" never came to the provider`);
  return stream;
}

/** Checks that the client received every byte, and then the end with its price. */
function expectWhole(client: Client): void {
  const end = client.tail.slice(client.tail.lastIndexOf("data: {", client.tail.lastIndexOf('"finish_reason":"stop"')));
  const priced = end.includes('"quota":{"credits_used":') && end.endsWith("data: [DONE]\n\n");
  const { sent } = upstreamOf(client);
  if (!priced || client.got - end.length !== sent) wrong.push(`"${client.message}" got ${client.got} bytes of ${sent} and an end`);
}

async function allBilled(count: number): Promise<void> {
  const giveUpAt = performance.now() + 60_000;
  while ((await db.prisma.usage.count({ where: { appId: app.id } })) < count && performance.now() < giveUpAt) await seconds(0.25);
}

/** Checks that each stream was billed once: whole ones with the provider's tokens, the others with counted ones. */
async function expectBilled(): Promise<void> {
  const billed = await db.prisma.usage.groupBy({
    by: ["outcome"],
    where: { appId: app.id },
    _count: true,
    _sum: { completionTokens: true },
  });
  const of = (outcome: string) => billed.find((each) => each.outcome === outcome);
  const hungUp = STALLED - Math.floor(STALLED / 2);
  const whole = [...upstream.streams.values()].filter(({ state }) => state === "answered");
  const said = whole.reduce((sum, { tokens }) => sum + tokens, 0);
  const [completed, interrupted] = [of("completed"), of("interrupted")];
  if (
    completed?._count !== WARM_UP + STREAMS + STALLED - hungUp ||
    completed._sum.completionTokens !== said ||
    (interrupted?._count ?? 0) !== hungUp ||
    billed.length !== (hungUp > 0 ? 2 : 1)
  )
    wrong.push(
      `the provider said ${said} tokens in ${whole.length} whole streams, ${hungUp} hung up; billed were ${JSON.stringify(billed)}`,
    );
}

function seconds(count: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, count * 1_000));
}

function line(label: string): string {
  return `  ${label.padEnd(23)}`;
}

function mib(amount: number): string {
  return amount.toFixed(0).padStart(6);
}

function perStream(amount: number, streams: number): string {
  return `${((amount * 1024) / streams).toFixed(0)} KiB for each stream`;
}
