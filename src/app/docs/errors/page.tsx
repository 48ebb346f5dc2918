import type { Metadata } from "next";
import type { ReactNode } from "react";
import { type ErrorCode, type ErrorRow, errorTable } from "#server/platform/errors.ts";
import { CodeBlock } from "#ui/code-block.tsx";
import { PageHeading } from "#ui/heading.tsx";
import { Table, Td, Th, Tr } from "#ui/table.tsx";

export const metadata: Metadata = {
  title: "Errors",
  description: "Every error that the API answers with: when it happens, and what to do.",
};

const errors = Object.entries(errorTable) as [ErrorCode, ErrorRow][];

export default function Errors() {
  return (
    <div className="mx-auto w-full max-w-3xl px-4 py-8 sm:px-6">
      <PageHeading title="Errors">
        Every error of <code className="font-mono">/v1</code> has one of these codes. A program can rely on{" "}
        <code className="font-mono">status</code> and <code className="font-mono">code</code>; the message is for people and may change.
      </PageHeading>
      <Table label="Errors">
        <thead>
          <tr>
            <Th>Status</Th>
            <Th>Code</Th>
            <Th className="hidden sm:table-cell">When</Th>
          </tr>
        </thead>
        <tbody>
          {errors.map(([code, row]) => (
            <Tr key={code}>
              <Td className="align-top tabular-nums">{row.status}</Td>
              <Td className="align-top">
                <a href={`#${code}`} className="prose-link font-mono text-[0.8125rem]">
                  {code}
                </a>
              </Td>
              <Td className="hidden sm:table-cell">
                <Marked text={row.when} />
              </Td>
            </Tr>
          ))}
        </tbody>
      </Table>
      {errors.map(([code, row]) => (
        <section key={code} aria-labelledby={code} className="mt-12 border-t border-line pt-8">
          <h2 id={code} className="scroll-mt-8 text-lg font-semibold">
            <a href={`#${code}`} className="rounded-sm font-mono underline-offset-4 hover:underline">
              {code}
            </a>
          </h2>
          <dl className="mt-4 space-y-3">
            <Line name="Status">
              {row.status}, type <code className="font-mono text-[0.8125rem]">{row.type}</code>
            </Line>
            <Line name="When">
              <Marked text={row.when} />
            </Line>
            <Line name="What to do">
              <Marked text={row.hint ?? advice(row)} />
            </Line>
          </dl>
          <CodeBlock label={`Example answer with ${code}`} className="mt-4 border border-line bg-surface">
            {example(code, row)}
          </CodeBlock>
        </section>
      ))}
    </div>
  );
}

function Line({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div className="sm:flex">
      <dt className="w-32 shrink-0 text-soft">{name}</dt>
      <dd className="min-w-0">{children}</dd>
    </div>
  );
}

/** The table's sentences mark code with backticks. */
function Marked({ text }: { text: string }) {
  return text.split("`").map((part, n) =>
    n % 2 === 1 ? (
      // biome-ignore lint/suspicious/noArrayIndexKey: the parts of a sentence never change places.
      <code key={n} className="font-mono text-[0.8125rem]">
        {part}
      </code>
    ) : (
      part
    ),
  );
}

/** For the rows whose remedy follows from their kind. */
function advice(row: ErrorRow): string {
  if (row.status >= 500)
    return "Send the request again after a pause. If it goes on, tell whoever runs the server the `X-Request-Id` of the answer.";
  if (row.status === 403) return "Ask the person to connect again and allow what is missing, or use an API key of your app.";
  return "Correct the request and send it again; as it is, it would fail again.";
}

function example(code: ErrorCode, row: ErrorRow): string {
  const error = {
    code,
    message: row.message,
    type: row.type,
    param: null,
    ...(row.hint === undefined ? {} : { hint: row.hint }),
    docs_url: `…/docs/errors#${code}`,
  };
  return JSON.stringify({ error }, null, 2);
}
