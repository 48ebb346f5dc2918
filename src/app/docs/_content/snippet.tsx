import { CopyButton } from "#ui/copy-button.tsx";
import { highlight } from "./code.ts";
import { Tabs } from "./tabs.tsx";

const NAMES: Record<string, string> = {
  sh: "Terminal",
  json: "JSON",
  js: "JavaScript",
  ts: "TypeScript",
  tsx: "TypeScript",
  py: "Python",
  python: "Python",
  go: "Go",
  ruby: "Ruby",
  php: "PHP",
  env: "Environment",
  css: "CSS",
  http: "HTTP",
};

/** Code with a copy button. */
export function Snippet({ text, language, file }: { text: string; language: string; file?: string | undefined }) {
  const label = file ?? NAMES[language] ?? "Text";
  return (
    <figure className="my-5 overflow-hidden rounded-lg border border-line bg-surface">
      <figcaption className="flex items-center justify-between gap-4 border-b border-line py-1 pl-4 pr-1">
        <span className={file === undefined ? "text-[0.8125rem] text-soft" : "truncate font-mono text-[0.8125rem] text-soft"}>{label}</span>
        <CopyButton text={text} what={`this ${label}`} kind="quiet" />
      </figcaption>
      <Code text={text} language={language} />
    </figure>
  );
}

/** The same program in several languages, in tabs. */
export function Snippets({ tabs }: { tabs: readonly { tab: string; text: string; language: string }[] }) {
  return (
    <Tabs
      label="Language"
      tabs={tabs.map(({ tab, text, language }) => ({
        name: tab,
        text,
        content: <Code text={text} language={language} />,
      }))}
    />
  );
}

function Code({ text, language }: { text: string; language: string }) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a scroll area has to be reachable by keyboard, and not every browser makes it so.
    <pre tabIndex={0} className="overflow-x-auto p-4 font-mono text-[0.8125rem] leading-5">
      {/* biome-ignore lint/security/noDangerouslySetInnerHtml: the highlighter escapes the text, which is this repository's own. */}
      <code className="code" dangerouslySetInnerHTML={{ __html: highlight(text, language) }} />
    </pre>
  );
}
