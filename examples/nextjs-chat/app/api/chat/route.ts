import { type ChatMessage, QuotaApiError, QuotaConnectionError } from "@usequota/core";
import { getQuotaClient } from "@usequota/nextjs";
import { getSession } from "../../../lib/session.ts";

/** One line of the stream that the page reads: a JSON object. */
export type ChatLine =
  | { text: string }
  | { quota: { credits_used: number; balance_after: number | null } }
  | { error: { code: string; message: string } };

/** Streams an answer that is paid from the signed-in user's wallet. */
export async function POST(request: Request): Promise<Response> {
  const session = await getSession();
  if (session === null) return Response.json({ error: { code: "signed_out", message: "Sign in first." } }, { status: 401 });
  const question = await read(request);
  if (question === null) return Response.json({ error: { code: "bad_request", message: "That is no conversation." } }, { status: 400 });
  // The session alone decides who pays.
  const quota = await getQuotaClient({ externalUserId: session.userId });
  if (quota === null) return Response.json({ error: { code: "not_connected", message: "Connect your wallet first." } }, { status: 401 });
  try {
    // When the user closes the page, the model is stopped, and what was delivered is billed.
    const stream = await quota.createChatCompletion({ ...question, stream: true }, { signal: request.signal });
    return new Response(lines(stream, request.signal), {
      headers: { "content-type": "application/x-ndjson; charset=utf-8", "cache-control": "no-store" },
    });
  } catch (error) {
    const { status, ...problem } = problemOf(error, request.signal);
    return Response.json({ error: problem }, { status });
  }
}

type Stream = AsyncIterable<{ choices: { delta: { content?: string | null } }[] }> & {
  cancel(): void;
  quota: { credits_used: number; balance_after: number | null } | undefined;
};

function lines(stream: Stream, signal: AbortSignal): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  const line = (value: ChatLine) => encoder.encode(`${JSON.stringify(value)}\n`);
  let left = false;
  return new ReadableStream({
    async start(controller) {
      try {
        for await (const chunk of stream) {
          const text = chunk.choices[0]?.delta.content;
          if (text) controller.enqueue(line({ text }));
        }
        if (stream.quota) controller.enqueue(line({ quota: stream.quota }));
      } catch (error) {
        // The client has disconnected.
        if (left || signal.aborted) return;
        const { status: _, ...problem } = problemOf(error, signal);
        controller.enqueue(line({ error: problem }));
      }
      controller.close();
    },
    cancel: () => {
      left = true;
      stream.cancel();
    },
  });
}

/** The error as the page shows it to the user. */
function problemOf(error: unknown, signal: AbortSignal): { status: number; code: string; message: string } {
  // The signal's reason is Next.js's when the user leaves or stops the answer.
  if (signal.aborted) return { status: 499, code: "left", message: "You left." };
  // Quota's message for this error addresses developers.
  if (error instanceof QuotaApiError && error.code === "not_found")
    return { status: 404, code: error.code, message: "Your wallet is not connected any more. Connect it again to go on." };
  if (error instanceof QuotaApiError) return { status: error.status, code: error.code, message: error.message };
  if (error instanceof QuotaConnectionError) return { status: 502, code: "unreachable", message: "The answer broke off. Try again." };
  console.error(error);
  return { status: 500, code: "internal_error", message: "Something went wrong in this app." };
}

async function read(request: Request): Promise<{ model: string; messages: ChatMessage[] } | null> {
  const body = (await request.json().catch(() => null)) as { model?: unknown; messages?: unknown } | null;
  if (typeof body?.model !== "string" || !Array.isArray(body.messages) || body.messages.length === 0) return null;
  const messages: ChatMessage[] = [];
  for (const each of body.messages as { role?: unknown; content?: unknown }[]) {
    if ((each?.role !== "user" && each?.role !== "assistant") || typeof each.content !== "string") return null;
    messages.push({ role: each.role, content: each.content });
  }
  return { model: body.model, messages };
}
