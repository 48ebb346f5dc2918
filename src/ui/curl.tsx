import { CodeBlock } from "./code-block.tsx";
import { CopyButton } from "./copy-button.tsx";

/** A first request to this server. */
export function Curl({ origin }: { origin: string }) {
  const text = `curl ${origin}/v1/chat/completions \\
  -H "Authorization: Bearer sk-quota-your-api-key" \\
  -H "X-Quota-User: user_123" \\
  -H "Content-Type: application/json" \\
  -d '{
    "model": "gpt-4o-mini",
    "messages": [{"role": "user", "content": "Hello"}]
  }'`;
  return (
    <div className="min-w-0 rounded-lg border border-line bg-surface">
      <div className="flex items-center justify-between gap-4 border-b border-line py-1.5 pl-4 pr-1.5">
        <p className="text-sm font-medium">A request that a linked user pays for</p>
        <CopyButton text={text} what="this command" />
      </div>
      <CodeBlock label="The command" className="rounded-t-none">
        {text.split("\n").map((line) => (
          <span key={line} className={line.includes("X-Quota-User") ? "block font-medium text-accent" : "block"}>
            {line}
          </span>
        ))}
      </CodeBlock>
    </div>
  );
}
