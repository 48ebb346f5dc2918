import { errorFor, QuotaConnectionError } from "./errors.ts";
import type { Incoming } from "./transport.ts";
import type { ChatCompletionChunk } from "./types.ts";
import type { Quota } from "./wire.ts";

/**
 * A completion that arrives as a stream: iterate it with `for await`, once. Leaving the loop, `cancel()`
 * and the signal stop the model, and only what was delivered is billed.
 *
 * @example
 * ```ts
 * const stream = await quota.createChatCompletion({ model: "gpt-4o-mini", messages, stream: true });
 * for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta.content ?? "");
 * console.log(stream.quota?.credits_used);
 * ```
 *
 * Iterating throws `QuotaConnectionError` when the stream breaks off, `QuotaTimeoutError` when
 * nothing arrives for `timeoutMs`, and a `QuotaApiError` when the provider fails during the stream.
 */
export class ChatCompletionStream implements AsyncIterable<ChatCompletionChunk> {
  /** The request's id at Quota. */
  readonly requestId: string | undefined;
  /** The output limit that the payer can afford, when it is lower than the requested one. */
  readonly maxTokens: number | undefined;
  /** What the completion cost, after the last chunk. */
  quota: Quota | undefined;
  readonly #incoming: Incoming;
  #read = false;

  /** @internal */
  constructor(incoming: Incoming) {
    this.#incoming = incoming;
    this.requestId = incoming.headers.get("x-request-id") ?? undefined;
    this.maxTokens = Number(incoming.headers.get("x-quota-max-tokens")) || undefined;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<ChatCompletionChunk, void, undefined> {
    if (this.#read) throw new TypeError("A stream can be read once.");
    this.#read = true;
    try {
      for await (const data of eventsOf(this.#incoming)) {
        if (data === "[DONE]") return;
        const chunk = JSON.parse(data) as ChatCompletionChunk & { error?: { code?: string } | null };
        // The status was 200; the error's code tells which one applies.
        if (chunk.error) throw errorFor(statusOf[chunk.error.code ?? ""] ?? 502, this.#incoming.headers, data);
        if (chunk.quota) this.quota = chunk.quota;
        yield chunk;
      }
      throw new QuotaConnectionError("The stream broke off. Nothing was billed if the provider failed.");
    } finally {
      this.cancel();
    }
  }

  /** Stops the model. Does nothing after the end of the stream. */
  cancel(): void {
    this.#read = true;
    this.#incoming.end();
  }

  /** The text alone, as a byte stream for a `Response`, for a route handler that streams to its page. Cancelling it stops the model. */
  toTextStream(): ReadableStream<Uint8Array> {
    const chunks = this[Symbol.asyncIterator]();
    const encoder = new TextEncoder();
    return new ReadableStream<Uint8Array>({
      async pull(controller) {
        for (;;) {
          const { done, value } = await chunks.next();
          if (done) return controller.close();
          const text = value.choices[0]?.delta?.content;
          if (text) return controller.enqueue(encoder.encode(text));
        }
      },
      cancel: () => this.cancel(),
    });
  }
}

const statusOf: Record<string, number> = { rate_limit: 429, internal_error: 500, gateway_timeout: 504 };

/** The data of each server-sent event. */
async function* eventsOf(incoming: Incoming): AsyncGenerator<string> {
  const reader = incoming.body?.getReader();
  if (!reader) return;
  const decoder = new TextDecoder();
  let rest = "";
  let data: string[] = [];
  for (;;) {
    const { done, value } = await incoming.read(reader.read());
    if (done) return;
    const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
    rest = lines.pop() as string;
    for (const line of lines) {
      const text = line.endsWith("\r") ? line.slice(0, -1) : line;
      if (text.startsWith("data:")) data.push(text.slice(text[5] === " " ? 6 : 5));
      else if (text === "" && data.length > 0) {
        yield data.join("\n");
        data = [];
      }
    }
  }
}
