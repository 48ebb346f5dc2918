import { describe, expect, test } from "vitest";
import { gate } from "../../../src/testing/fake-upstream.ts";
import { chunk, delta, event, events, usage } from "../../../src/testing/upstream-answers.ts";
import { anthropic } from "../behaviours/anthropic.ts";
import { openrouter } from "../behaviours/openrouter.ts";
import { vllm } from "../behaviours/vllm.ts";
import { buy } from "../server.ts";

/** Hidden thinking, which counts as output: https://platform.claude.com/docs/en/api/openai-sdk. The provider goes on after `onHangUp`. */
function hidden() {
  const left = gate();
  const behaviour = events(
    (async function* () {
      yield event(chunk([delta({ role: "assistant", content: "Hello" })]));
      await left.opened;
      yield event(chunk([delta({}, { finishReason: "stop" })])) + event(chunk([], { usage: usage(10, 2_000) })) + event("[DONE]");
    })(),
  );
  return { behaviour, onHangUp: left.open };
}

test("a stream that is read to its end after its client hung up, and in which the provider fails, costs nothing", async () => {
  const left = gate();
  const behaviour = events(
    (async function* () {
      yield event(chunk([delta({ role: "assistant", content: "Hello" })]));
      await left.opened;
      // The server has to learn that the client is gone before it reads of the failure.
      for (let pings = 0; pings < 1_000; pings++) {
        yield ": ping\n\n";
        await new Promise((resolve) => setImmediate(resolve));
      }
      yield event({ error: { message: "overloaded", type: "server_error" } });
    })(),
  );
  const body = { reasoning_effort: "low" };
  const { credits, outcome } = await buy(vllm, behaviour, { stream: true, body, hangUpAfter: "Hello", onHangUp: left.open });
  expect([credits, outcome]).toEqual([0, "failed"]);
});

describe("a stream with hidden thinking whose client hangs up is read to its end and billed by the provider's usage", () => {
  test.each([
    ["thinking", { ...anthropic, model: "claude-haiku-4-5" }, { thinking: { type: "enabled", budget_tokens: 2_000 } }, 12_012],
    ["adaptive thinking", { ...anthropic, model: "claude-haiku-4-5" }, { thinking: { type: "adaptive" } }, 12_012],
    ["reasoning_effort", { ...anthropic, model: "claude-haiku-4-5" }, { reasoning_effort: "high" }, 12_012],
    ["reasoning_effort for a model of the operator", vllm, { reasoning_effort: "low" }, 4_812],
    ["reasoning", openrouter, { reasoning: { effort: "high", exclude: true } }, 36_036],
  ] as const)("%s", async (_name, provider, body, credits) => {
    const { behaviour, onHangUp } = hidden();
    const bought = await buy(provider, behaviour, { stream: true, body, hangUpAfter: "Hello", onHangUp });
    expect([bought.credits, bought.outputTokens, bought.countedBy]).toEqual([credits, 2_000, "provider"]);
  });
});
