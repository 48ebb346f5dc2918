import type { Database } from "../src/server/platform/db.ts";
import { type FakeUpstream, type SeenRequest, startFakeUpstream } from "../src/testing/fake-upstream.ts";
import { makeApp, makeKey, makeLink, makeToken, makeUser } from "../src/testing/makers.ts";
import {
  type Behaviour,
  BREAK_OFF,
  completion,
  completionChunks,
  event,
  events,
  message,
  messageEvents,
  messageUsage,
  namedEvent,
  type Piece,
  refusal,
  usage,
} from "../src/testing/upstream-answers.ts";

export type Door = "chat" | "messages";

/** The provider's behaviour for a request, named in the prompt. */
export type Script = "plain" | "slow" | "long" | "fail" | "cut";

/** One intended request, which may be sent several times. */
export type Order = { number: number; door: Door; stream: boolean; script: Script };

/** The number of distinct completion token counts; a prime, so that it has no common period with patterns of the load. */
const COMPLETIONS = 3_989;
const FEWEST_PROMPT_TOKENS = 10;
/** The least bytes of a prompt, so that this many prompt tokens are within the hold. */
const PROMPT_BYTES = 420;
const PROMPTS = 380;
export const MOST_ORDERS = COMPLETIONS * PROMPTS;

/**
 * The tokens that the provider reports for a request. They differ for each request, so a usage
 * row tells which request it bills, also when the client never received its id.
 */
export function tokensOf(number: number): { prompt: number; completion: number } {
  return { prompt: FEWEST_PROMPT_TOKENS + Math.floor(number / COMPLETIONS), completion: 1 + (number % COMPLETIONS) };
}

/** The request with these token counts; null when no request has them. */
export function orderOf(prompt: number, completion: number): number | null {
  const number = (prompt - FEWEST_PROMPT_TOKENS) * COMPLETIONS + completion - 1;
  return completion >= 1 && completion <= COMPLETIONS && number >= 0 && number < MOST_ORDERS ? number : null;
}

/** Credits for a million tokens, in and out, of the models in use. Repeated here, so that a wrong catalogue is found. */
const PRICES: Record<Door, { model: string; input: bigint; output: bigint }> = {
  chat: { model: "gpt-4o-mini", input: 150_000n, output: 600_000n },
  messages: { model: "claude-haiku-4-5", input: 1_000_000n, output: 5_000_000n },
};

/** The price of a request in credits, with this markup. */
export function priceOf(order: Order, markupBps: bigint): bigint {
  const { prompt, completion } = tokensOf(order.number);
  const { input, output } = PRICES[order.door];
  const base = roundUp(BigInt(prompt) * input + BigInt(completion) * output, 1_000_000n);
  return base + roundUp(base * markupBps, 10_000n);
}

function roundUp(dividend: bigint, divisor: bigint): bigint {
  return (dividend + divisor - 1n) / divisor;
}

export function bodyOf(order: Order): string {
  const words = `fault-order:${order.number}:${order.script};`.padEnd(PROMPT_BYTES, ".");
  return JSON.stringify({
    model: PRICES[order.door].model,
    max_tokens: COMPLETIONS + 1,
    messages: [{ role: "user", content: words }],
    ...(order.stream ? { stream: true } : {}),
  });
}

export const pathOf: Record<Door, string> = { chat: "/v1/chat/completions", messages: "/v1/messages" };

/** A fake provider that behaves as the prompt says. */
export async function startProvider(): Promise<FakeUpstream> {
  const upstream = await startFakeUpstream();
  upstream.on("fault-order:", answer);
  return upstream;
}

async function answer({ path, rawBody, body }: SeenRequest): Promise<Behaviour> {
  const [, digits, script] = /fault-order:(\d+):(\w+);/.exec(rawBody) ?? [];
  const tokens = tokensOf(Number(digits));
  if (script === "slow") await pause(500 + Math.random() * 2_500);
  if (script === "fail") return refusal(500, { message: "The provider fails, as it was told.", type: "server_error" });
  const isMessages = path.endsWith("/messages");
  if (body.stream !== true) {
    return isMessages
      ? message({ usage: messageUsage(tokens.prompt, tokens.completion) })
      : completion({ usage: usage(tokens.prompt, tokens.completion) });
  }
  const words = ["one", " two", " three", " four"];
  const pieces = isMessages
    ? messageEvents(words, { usage: messageUsage(tokens.prompt, tokens.completion) }).map(namedEvent)
    : [...completionChunks(words, { usage: usage(tokens.prompt, tokens.completion) }).map(event), event("[DONE]")];
  return events(inTime(pieces, script as Script));
}

/** Sends pieces one after the other with pauses; "long" takes one to two seconds, "cut" breaks off. */
async function* inTime(pieces: readonly string[], script: Script): AsyncGenerator<Piece> {
  for (const [index, piece] of pieces.entries()) {
    if (script === "cut" && index === 3) yield BREAK_OFF;
    yield piece;
    await (script === "long" ? pause(100 + Math.random() * 200) : new Promise((resolve) => setImmediate(resolve)));
  }
}

/** The headers of a payer, and the markup that applies. */
export type Payer = { headers: Record<string, string>; markupBps: bigint };

/**
 /**
 * Users, apps, keys and access tokens. Payers in `plenty` can pay for everything; those in `scarce`
 * run out of credits or of their monthly limit during the load.
 */
export type World = { plenty: Payer[]; scarce: Payer[] };

const PLENTY = 1_000_000_000_000n;
const PEOPLE = 20;
const SCARCE_PEOPLE = 8;

export async function makeWorld(db: Database): Promise<World> {
  const world: World = { plenty: [], scarce: [] };
  const markups = [0n, 1_000n, 2_500n];
  const shops = [];
  for (const markupBps of markups) {
    const developer = await makeUser(db, { credits: PLENTY });
    const app = await makeApp(db, { ownerId: developer.id, markupBps: Number(markupBps) });
    const key = await makeKey(db, app.id, "developer");
    shops.push({ app, markupBps, key, userKey: await makeKey(db, app.id, "user") });
    // A developer who pays for their own app pays the markup too, into their earnings.
    world.plenty.push({ headers: bearer(key.secret), markupBps });
  }
  for (let person = 0; person < PEOPLE + SCARCE_PEOPLE; person++) {
    const isScarce = person >= PEOPLE;
    // Of the scarce users, every second has few credits, the others a low limit.
    const credits = isScarce && person % 2 === 0 ? 150_000n : PLENTY;
    const limit = isScarce && person % 2 === 1 ? 150_000n : person % 3 === 0 ? PLENTY / 2n : undefined;
    const user = await makeUser(db, { credits });
    for (const [index, { app, markupBps, key, userKey }] of shops.entries()) {
      if (index === person % shops.length) continue;
      const link = await makeLink(db, app.id, user, { ...(limit === undefined ? {} : { monthlyLimit: limit }) });
      const payers = isScarce ? world.scarce : world.plenty;
      const asked = index === 0 ? key : userKey;
      payers.push({ headers: { ...bearer(asked.secret), "x-quota-user": link.externalUserId }, markupBps });
      if (person % 4 !== 0) continue;
      // Longer than any clock is moved.
      const { token } = await makeToken(db, link, { expiresAt: new Date(Date.now() + 200 * 24 * 3_600_000) });
      payers.push({ headers: bearer(token), markupBps });
    }
  }
  return world;
}

function bearer(secret: string): Record<string, string> {
  return { authorization: `Bearer ${secret}` };
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
