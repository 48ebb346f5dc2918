/** Simulated reasoning: tokens before the answer, which the API shows, summarises or hides. */

import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { findModel } from "../../pricing/models.ts";
import { decodeTokens, encodeText } from "../../pricing/tokens.ts";
import { topicOf } from "./answer.ts";
import type { ChatRequest } from "./request.ts";

export interface Thought {
  text: string;
  tokens: number;
}

/** Whether the model is one that reasons, and the request does not turn that off. */
export function reasonsBy(model: string, effort: unknown): boolean {
  return effort === undefined || effort === null ? findModel(model)?.reasoning === true : effort !== "none";
}

/** Reasoning of at most the thinking budget and half of the output limit, so that the rest is left for the answer. */
export async function thoughtOf(request: ChatRequest): Promise<Thought | undefined> {
  if (request.reasoning === "none") return undefined;
  const last = request.messages.findLast(({ role }) => role === "user")?.text ?? "";
  const tools = request.tools.length === 0 ? "There are no tools." : `There are ${request.tools.length} tools to choose from.`;
  const text = `The message is about "${topicOf(last.slice(0, 2_000))}". ${tools} I am the simulator, so I follow my rules instead of thinking.`;
  const tokens = await encodeText(text);
  const most = Math.floor(Math.min(request.maxTokens / 2, request.mostReasoning, tokens.length));
  return most < 1 ? undefined : { text: most === tokens.length ? text : await decodeTokens(tokens.slice(0, most)), tokens: most };
}

const key = randomBytes(32);

/** The signed form of reasoning, which clients send back. As at providers, only what this process signed is accepted. */
export function signedThought(thought: Thought): string {
  const text = Buffer.from(thought.text).toString("base64url");
  return `sim.${text}.${sign(text)}`;
}

/** Whether this process signed the value. */
export function isSignedThought(value: unknown): boolean {
  const [mark, text, signature] = typeof value === "string" ? value.split(".") : [];
  if (mark !== "sim" || text === undefined || signature === undefined) return false;
  const expected = Buffer.from(sign(text));
  const given = Buffer.from(signature);
  return given.length === expected.length && timingSafeEqual(given, expected);
}

function sign(text: string): string {
  return createHmac("sha256", key).update(text).digest("base64url");
}
