import { chunk, completionChunks, delta, sse, usage } from "../../../src/testing/upstream-answers.ts";

const severity = { hate: { filtered: false, severity: "safe" }, self_harm: { filtered: false, severity: "safe" } };
const [role = {}, text = {}, end = {}] = completionChunks(["Hello"]);

/**
 * Azure OpenAI, configured as OpenAI's base URL. Filter results for the prompt come in a first chunk without choices.
 * With the asynchronous filter, those for the answer come after the finish_reason:
 * https://learn.microsoft.com/en-us/azure/ai-foundry/openai/concepts/content-streaming
 */
export const azureStream = sse([
  { ...chunk([]), prompt_filter_results: [{ prompt_index: 0, content_filter_results: severity }] },
  role,
  text,
  end,
  chunk([
    {
      ...delta({}),
      content_filter_offsets: { check_offset: 44, start_offset: 44, end_offset: 198 },
      content_filter_results: severity,
    },
  ]),
  chunk([], { usage: usage(1_000, 100) }),
]);
