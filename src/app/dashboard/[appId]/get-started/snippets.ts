/** Programs that run as shown, from an empty folder. */
export type Snippet = { id: "curl" | "openai" | "quota"; name: string; file: string | null; before: string; text: string };

/** Stands for a key that is not shown any more. */
export const PLACEHOLDER = "sk-quota-your-api-key";

export function snippets({ origin, key, model }: { origin: string; key: string; model: string }): Snippet[] {
  return [
    {
      id: "curl",
      name: "curl",
      file: null,
      before: "Paste this into a terminal.",
      text: `curl ${origin}/v1/chat/completions \\
  -H "Authorization: Bearer ${key}" \\
  -H "Content-Type: application/json" \\
  -d '{
    "model": "${model}",
    "messages": [{"role": "user", "content": "Hello"}]
  }'`,
    },
    {
      id: "openai",
      name: "openai",
      file: "first.mjs",
      before: "npm install openai, save this as first.mjs, then node first.mjs. Any OpenAI client works in this way, in any language.",
      text: `import OpenAI from "openai";

const client = new OpenAI({
  apiKey: "${key}",
  baseURL: "${origin}/v1",
});

const answer = await client.chat.completions.create({
  model: "${model}",
  messages: [{ role: "user", content: "Hello" }],
});
console.log(answer.choices[0].message.content);`,
    },
    {
      id: "quota",
      name: "@usequota/core",
      file: "first.mjs",
      before:
        "It is not on npm yet: npm ci && npm run build:packages in Quota’s repository. Then npm install ../quota/packages/core.tgz, save this as first.mjs, then node first.mjs.",
      text: `import { QuotaClient } from "@usequota/core";

const quota = new QuotaClient({
  apiKey: "${key}",
  baseUrl: "${origin}",
});

const answer = await quota.createChatCompletion({
  model: "${model}",
  messages: [{ role: "user", content: "Hello" }],
});
console.log(answer.choices[0].message.content);`,
    },
  ];
}
