import ranks from "gpt-tokenizer/bpeRanks/o200k_base";

/**
 * Texts whose tokens are counted with other makers' tokenizers (`npm run tokens`). They were written for this purpose.
 * Long and random texts are generated with a fixed seed, so they are the same in every run.
 */

const vocabulary = ranks.filter((token): token is string => typeof token === "string");

export const samples: Readonly<Record<string, string>> = {
  "English prose": `The harbour was quiet when the last ferry came in. Two women in yellow coats stood beside the ticket booth and argued, in low voices, about whether the letter should be opened before their brother arrived. Neither of them noticed that the wind had turned, or that the lanterns along the breakwater were being lit one after another. "He promised," said the older one. Her sister shook her head: promises, she thought, were like tides, and nobody with any sense would moor a boat to one.

By morning the rain had stopped, and what remained of the quarrel was a wet umbrella and an envelope that nobody claimed.`,
  "English words of many syllables": `Counterintuitively, the microarchitectural implementation of pseudorandomization necessitates uncharacteristically straightforward parameterization; electroencephalographic instrumentation, interdisciplinary historiography and deinstitutionalization notwithstanding, oversimplification misrepresents thermodynamically irreversible crystallization, photolithographic miniaturization, phosphorylation and immunohistochemistry.`,
  Capitals: `TERMS AND CONDITIONS. THE SELLER SHALL NOT BE LIABLE FOR ANY INDIRECT, INCIDENTAL OR CONSEQUENTIAL DAMAGES, HOWEVER CAUSED, EVEN IF IT HAS BEEN ADVISED OF THE POSSIBILITY OF SUCH DAMAGES. NOTHING IN THIS AGREEMENT EXCLUDES LIABILITY FOR GROSS NEGLIGENCE OR WILFUL MISCONDUCT.`,
  German: `Die Straßenbahnhaltestelle am Güterbahnhof wurde während der Sommerferien für Instandhaltungsarbeiten gesperrt. Fahrgäste müssen deshalb auf Ersatzbusse ausweichen, deren Abfahrtszeiten von den üblichen Fahrplänen abweichen können. Die Verkehrsgesellschaft bittet um Verständnis und empfiehlt, sich rechtzeitig über Verbindungsmöglichkeiten zu erkundigen.`,
  French: `L'été dernier, nous avons traversé la forêt à bicyclette, sans carte ni boussole, guidés seulement par le bruit de la rivière. À midi, près d'un vieux moulin abandonné, une fermière nous a offert du pain, du fromage de chèvre et des prunes si mûres qu'elles éclataient dans la main.`,
  Finnish: `Keväisin järvenselkä vapautuu jäistä vähitellen, ja kalastajat korjaavat verkkojaan venevajojen edustalla. Lentokonesuihkuturbiinimoottoriapumekaanikkoaliupseerioppilas on sana, jota kukaan ei käytä, mutta jonka kaikki osaavat ulkoa. Epäjärjestelmällistyttämättömyydestä keskusteltiin kokouksessa pitkään.`,
  Polish: `Źdźbła traw kołysały się na wietrze, gdy wędrowcy schodzili ku dolinie. Ścieżka była śliska po nocnej ulewie, więc każdy krok wymagał uwagi. Najstarszy z nich, pszczelarz z Chrząszczyżewoszyc, opowiadał o miodzie gryczanym i o zimie, która przyszła za wcześnie.`,
  Turkish: `Sabahın erken saatlerinde çarşıdaki dükkânlar birer birer açılırken, köşedeki fırından taze simit kokusu yayılıyordu. Çekoslovakyalılaştıramadıklarımızdan mısınız diye soran çocuk, arkadaşlarının kahkahaları arasında cümleyi bir türlü tamamlayamadı.`,
  Vietnamese: `Buổi sáng ở chợ nổi bắt đầu từ rất sớm, khi sương còn phủ kín mặt sông. Những chiếc thuyền chở đầy dừa, xoài và rau muống chen chúc nhau, tiếng mặc cả vang lên khắp nơi. Bà cụ bán bún riêu mỉm cười, múc thêm một thìa nước dùng cho vị khách quen.`,
  "Cyrillic (Russian)": `Поезд остановился посреди степи, и проводник долго объяснял пассажирам, что впереди размыло насыпь. Кто-то достал самовар, кто-то гармонь, и к вечеру незнакомые люди сидели вместе у костра, как старые соседи. Утром путь починили, но расходиться по вагонам никому не хотелось.`,
  "Cyrillic (Kazakh)": `Ауыл ақсақалдары көктемгі мерекеге дайындық туралы кеңесті. Қыздар ұлттық киімдерін әзірлеп, балалар бәйгеге қатысатын тайларын баптап жүрді. Өзен жағасындағы үлкен қазанда наурыз көже қайнап жатты.`,
  Greek: `Το καράβι έδεσε στο λιμάνι λίγο πριν από τη δύση, και οι ψαράδες άπλωσαν τα δίχτυα τους στην προκυμαία. Ένας γέρος με άσπρη γενειάδα μετρούσε τα κύματα, σαν να περίμενε από αυτά κάποια απάντηση που δεν ερχόταν ποτέ.`,
  Georgian: `მთის სოფელში გაზაფხული გვიან მოდის. მწყემსებმა ცხვარი ზემო საძოვრებზე გარეკეს, ქალებმა კი ვენახი გასხლეს. საღამოს მეზობლები კაკლის ქვეშ შეიკრიბნენ, პური გატეხეს და ძველი სიმღერა წამოიწყეს, რომლის სიტყვებიც ყველამ ბავშვობიდან იცოდა.`,
  Armenian: `Լեռնային գյուղում ձյունը հալվում էր, և առվակները աղմկոտ իջնում էին ձորը։ Ծերունիները նստած էին եկեղեցու պատի տակ ու զրուցում էին անցած ձմռան մասին, իսկ երեխաները փնտրում էին առաջին ձնծաղիկները։`,
  Hebrew: `בבוקר ירד גשם דק על הסמטאות, והאופה הזקן פתח את חלונות המאפייה כדי שריח הלחם יזמין את העוברים ושבים. ילדה אחת עמדה בפתח וספרה מטבעות, ובסוף קנתה שתי לחמניות, אחת לה ואחת לכלב שחיכה בחוץ.`,
  Arabic: `كان السوق مزدحمًا في ذلك الصباح، والباعة ينادون على التمر والزيتون والقماش الملوّن. جلس الشيخ عند باب دكّانه يصلح ساعةً قديمة، وقال لحفيده إنّ الزمن لا يُباع ولا يُشترى، لكنّه يحتاج أحيانًا إلى من ينظّفه من الغبار.`,
  "Arabic with vowel marks": `ذَهَبَ الوَلَدُ إِلَى المَدْرَسَةِ مُبَكِّرًا، فَوَجَدَ بَابَهَا مُغْلَقًا، فَجَلَسَ تَحْتَ الشَّجَرَةِ يَقْرَأُ كِتَابًا عَنِ النُّجُومِ وَالبِحَارِ وَالأَسْفَارِ البَعِيدَةِ.`,
  Persian: `پیرمرد هر غروب کنار حوض می‌نشست و برای ماهی‌های قرمز خرده‌نان می‌ریخت. می‌گفت هیچ‌کدامشان را از دیگری نمی‌شناسد، اما آنها او را خوب می‌شناسند و پیش از آنکه برسد، کنار لبهٔ کاشی جمع می‌شوند.`,
  Hindi: `गाँव के बाहर पीपल के पेड़ के नीचे डाकिया अपनी साइकिल खड़ी करके चिट्ठियाँ छाँटता था। बच्चे उसे घेर लेते और पूछते कि क्या शहर से कोई ख़बर आई है। वह मुस्कुराता और हर किसी के लिए एक छोटी-सी कहानी गढ़ लेता।`,
  Bengali: `নদীর ঘাটে সন্ধ্যা নামলে মাঝিরা নৌকা বেঁধে চায়ের দোকানে জড়ো হতো। কেউ মাছের দাম নিয়ে তর্ক করত, কেউ পুরোনো দিনের গান গাইত, আর বৃষ্টির শব্দে সব কথা মিলিয়ে যেত।`,
  Tamil: `கடற்கரை கிராமத்தில் காலைப் பொழுது மீனவர்களின் குரலோடு தொடங்குகிறது. வலைகளை உலர்த்தும் பெண்கள் பழைய பாடல்களைப் பாடுகிறார்கள், குழந்தைகள் மணலில் படகுகளை வரைகிறார்கள்.`,
  Telugu: `ఊరి చివర మర్రిచెట్టు కింద పంచాయతీ జరిగేది. వర్షాలు ఆలస్యమైన సంవత్సరం రైతులందరూ అక్కడే కూర్చుని చెరువు నీటిని ఎలా పంచుకోవాలో మాట్లాడుకున్నారు.`,
  Malayalam: `മഴക്കാലം തുടങ്ങിയതോടെ പുഴയിലെ വെള്ളം ഉയർന്നു. തോണിക്കാരൻ കടവിൽ കാത്തുനിന്നു, സ്കൂൾ വിട്ടുവരുന്ന കുട്ടികളെ അക്കരെ എത്തിക്കാൻ. അവർ ഓരോരുത്തരും അവനോട് ഓരോ കഥ ചോദിച്ചു, അവൻ ഒന്നും മറന്നിരുന്നില്ല.`,
  Sinhala: `කන්දේ පාමුල පිහිටි කුඩා ගමේ ගොවීන් අලුත් අවුරුද්ද සඳහා සූදානම් වෙමින් සිටියහ. කිරි උතුරන තුරු ළමයින් ලිප වටා බලා සිටියේ නොඉවසිල්ලෙනි.`,
  Thai: `เช้าวันนั้นตลาดริมคลองเต็มไปด้วยเรือขายผลไม้และขนมหวาน แม่ค้าเรียกลูกค้าด้วยเสียงเพลงเก่า ๆ เด็กชายคนหนึ่งนั่งห้อยเท้าอยู่บนสะพานไม้ คอยดูปลาว่ายตามเงาเมฆที่ลอยผ่านไป`,
  Lao: `ຕອນເຊົ້າຢູ່ແຄມຂອງ ຊາວປະມົງພາກັນດຶງມອງຂຶ້ນຈາກນ້ຳ ສ່ວນແມ່ຄ້າກໍຕຽມເຂົ້າໜຽວແລະປາປີ້ງໄວ້ຖ້າລູກຄ້າທີ່ຈະຂ້າມຟາກມາ.`,
  Khmer: `នៅពេលព្រឹកព្រលឹម អ្នកនេសាទចេញទូកទៅបឹងទន្លេសាប ខណៈដែលក្មេងៗរត់លេងតាមច្រាំង។ យាយចាស់អង្គុយត្បាញកន្ទេលក្រោមផ្ទះ ហើយនិទានរឿងពីសម័យដើម។`,
  Burmese: `မနက်စောစောမှာ ဈေးသည်တွေက လှေပေါ်ကနေ ဟင်းသီးဟင်းရွက်တွေကို ကမ်းပေါ်တင်ကြတယ်။ အဘိုးက လက်ဖက်ရည်ဆိုင်ရှေ့မှာထိုင်ပြီး ရွာအကြောင်း ပုံပြင်တွေ ပြောပြနေတယ်။`,
  Tibetan: `རི་མགོར་ཁ་བ་བབས་པའི་དུས་སུ་འབྲོག་པ་ཚོས་གཡག་དང་ལུག་རྣམས་ལུང་པའི་ནང་དུ་འདེད་ཀྱི་ཡོད། རྨོ་མོས་ཇ་བསྐོལ་ནས་ཕྲུ་གུ་ཚོར་སྒྲུང་བཤད་ཀྱིས།`,
  Amharic: `በተራራው ግርጌ ባለችው መንደር ገበሬዎች የመጀመሪያውን ዝናብ እየጠበቁ ነበር። ሴቶቹ ቡና ሲያፈሉ ሽታው ከቤት ወደ ቤት ተዳረሰ፤ ልጆችም በአደባባዩ ላይ ተሰብስበው ተረት ያዳምጡ ነበር።`,
  Cherokee: `ᎣᏏᏲ ᎣᎩᎾᎵᎢ, ᏙᎯᏧ? ᎠᏂᏔᎵ ᎠᏂᎨᏯ ᎡᏉᏂ ᎾᎥᎢ ᎠᏂᏙᎾᎥ, ᎠᏂᏬᏂᏍᎬ ᎤᏂᏍᏆᏂᎪᏛ.`,
  "Chinese (simplified)": `清晨的集市还没有完全热闹起来,卖豆浆的老人已经把炉火生好。巷口的理发师搬出一把旧椅子,等着第一位客人。孩子们背着书包跑过石板路,惊起屋檐下的一群鸽子。没有人注意到,河对岸的灯一盏接一盏地熄灭了。`,
  "Chinese (traditional)": `颱風過後,漁村的屋頂覆滿了鹽霜。祖母將濕透的棉被攤在竹竿上曬,嘴裡念叨著廟口戲臺又該修葺了。鄰居送來一籃龍眼,說是山坳裡僅存的幾株所結,個頭雖小,卻甜得黏手。`,
  "Chinese (rare characters)": `龘靐齉龗麤灪籲爩鱻麣饢癵驫飝鸞虋讟钃齾齼鑿鼺龖纞豔鸜躨戇黷蠼彠欟灩齺饟钄鑾`,
  Japanese: `雨上がりの商店街では、豆腐屋の主人がのれんを掛け直していた。通りの向こうからランドセルを背負った子どもたちが駆けてきて、水たまりをよけながら笑い声をあげる。ラジオからは古い歌謡曲が流れ、猫が一匹、樽の上で目を細めた。`,
  Korean: `골목 끝 헌책방에는 늘 오래된 종이 냄새가 났다. 주인 할아버지는 손님이 와도 고개를 들지 않고 책장 사이에서 먼지를 털었다. 비가 오는 날이면 동네 아이들이 처마 밑에 모여 앉아 그가 들려주는 뱃사람 이야기를 기다렸다.`,
  Emoji: `Great news 🎉🎉🎉 we shipped it! 🚀 Thanks to everyone 👩‍💻👨‍👩‍👧‍👦🙌🏽 who stayed late 🌙☕️ and fixed the flaky tests 🐛🔨✅. Party on Friday 🥳🍕🍻, bring your 🐶! 🇫🇷🇯🇵🇧🇷🇰🇪 🏳️‍🌈 ❤️‍🔥 🫠🫡🪿🫎`,
  "Symbols and mathematics": `∀ε>0 ∃δ>0: |x−a|<δ ⇒ |f(x)−f(a)|<ε. ∮ E·dA = Q⁄ε₀, ∇×B = μ₀J + μ₀ε₀ ∂E/∂t. ⟨ψ|Ĥ|ψ⟩ ≤ ℏω(n+½), Σᵢ αᵢ² ≈ ∞ ⊕ ⊗ ⟹ ⊢ ⊨ ♠♣♥♦ ☃ ☂ ← ↑ → ↓ ↔ ⇄ ⌘ ⌥ ⏎ №℡™®©`,
  "Box drawing": `┌──────────┬──────────┐\n│ Item     │    Price │\n├──────────┼──────────┤\n│ Tea      │   € 3.50 │\n│ ▓▓▓▒▒░░  │   € 12.—│\n└──────────┴──────────┘\n╔══╗ ║▌▐█║ ╚══╝`,
  "Compatibility characters": `ﷺ ﷲ ﷴ ㍿ ㌔ ㎏ ㏂ ㈱ ½ ¾ ⅞ ﬃ ﬆ Ⅷ ⒓ ① ㊿ ℀ ™ ﹏ ﾊﾝｶｸ ｆｕｌｌｗｉｄｔｈ １２３４５ 𝓼𝓬𝓻𝓲𝓹𝓽 𝔣𝔯𝔞𝔨𝔱𝔲𝔯 ¨ ´ ͺ ﹰ ﱞ`,
  "Combining marks": `Z̸̢̛̭̪̈́̀a̵̧̛̼͖̓̅l̶̰̦̈́̏͝g̷̡̱̋̕o̸̖͌̈ ë̊ ạ̈ ñ̃ Å Ǖ ṩ q̣̇ क़ ড় שׁ`,
  "Private use and astral": `\u{e000}\u{e123}\u{f8ff}\u{10ffff}\u{20000}\u{2a6d6}\u{1f9ff}\u{13000}\u{12000}\u{1d400}\u{1f000}\u{16800}\u{10330}\u{10400}`,
  TypeScript: `export async function fetchInvoices(customerId: string, { limit = 50, cursor }: PageOptions = {}): Promise<Page<Invoice>> {
  const url = new URL(\`/customers/\${encodeURIComponent(customerId)}/invoices\`, BASE_URL);
  url.searchParams.set("limit", String(limit));
  if (cursor !== undefined) url.searchParams.set("cursor", cursor);
  const response = await fetch(url, { headers: { authorization: \`Bearer \${token()}\` }, signal: AbortSignal.timeout(10_000) });
  if (!response.ok) {
    throw new HttpError(response.status, await response.text());
  }
  const { data, next_cursor } = (await response.json()) as RawPage;
  return { items: data.map(toInvoice), next: next_cursor ?? null };
}`,
  Python: `class RingBuffer:
    """A queue of fixed size: what is added to a full one replaces its oldest item."""

    def __init__(self, capacity: int) -> None:
        if capacity <= 0:
            raise ValueError(f"capacity must be positive, not {capacity!r}")
        self._items = [None] * capacity
        self._start = self._length = 0

    def append(self, item):
        end = (self._start + self._length) % len(self._items)
        self._items[end] = item
        if self._length == len(self._items):
            self._start = (self._start + 1) % len(self._items)
        else:
            self._length += 1

    def __iter__(self):
        for offset in range(self._length):
            yield self._items[(self._start + offset) % len(self._items)]
`,
  "C with macros": `#define CHECK(expr) do { if (!(expr)) { fprintf(stderr, "%s:%d: %s\\n", __FILE__, __LINE__, #expr); abort(); } } while (0)
static inline uint32_t rotl32(uint32_t x, int8_t r) { return (x << r) | (x >> (32 - r)); }
int main(int argc, char **argv) {
\tfor (size_t i = 0; i < (size_t)argc; i++) {
\t\tchar *p = argv[i];
\t\twhile (*p) { *p = (char)toupper((unsigned char)*p); p++; }
\t\tprintf("%zu\\t%s%s", i, argv[i], i + 1 < (size_t)argc ? ", " : "\\n");
\t}
\treturn EXIT_SUCCESS;
}`,
  Lisp: `(defun flatten (tree) (cond ((null tree) '()) ((atom tree) (list tree)) (t (append (flatten (car tree)) (flatten (cdr tree))))))\n(let* ((xs '((1 (2 3)) ((4))))) (mapcar #'(lambda (x) (* x x)) (flatten xs))))))`,
  Shell: `set -euo pipefail\nfor f in "$@"; do\n  [[ -e "$f" ]] || { echo "no such file: $f" >&2; exit 1; }\n  sha256sum -- "$f" | awk '{print $1}' | tee -a "\${OUT:-/dev/null}"\ndone\nfind . -name '*.log' -mtime +7 -print0 | xargs -0 -r rm -f --`,
  SQL: `SELECT c.id, c.name, COALESCE(SUM(i.amount_cents), 0) AS total FROM customers c LEFT JOIN invoices i ON i.customer_id = c.id AND i.status <> 'void' WHERE c.created_at >= now() - interval '90 days' GROUP BY c.id, c.name HAVING COUNT(*) > 3 ORDER BY total DESC NULLS LAST LIMIT 100;`,
  "Minified JavaScript": `!function(e,t){"object"==typeof exports&&"undefined"!=typeof module?t(exports):"function"==typeof define&&define.amd?define(["exports"],t):t((e=e||self).lib={})}(this,(function(e){"use strict";var t=Object.prototype.hasOwnProperty,n=[];function r(e,t){for(var n in t)e[n]=t[n];return e}e.h=function(e,t,n){var o,i,a,c={};for(a in t)"key"==a?o=t[a]:"ref"==a?i=t[a]:c[a]=t[a];return r({type:e},c)},e.$=n}));`,
  "Regular expressions": `/^(?:[a-z0-9!#$%&'*+/=?^_\`{|}~-]+(?:\\.[a-z0-9!#$%&'*+/=?^_\`{|}~-]+)*|"(?:[\\x01-\\x08\\x0b]|\\\\[\\x01-\\x09])*")@(?:\\[(?:(2(5[0-5]|[0-4]\\d)|1\\d\\d|[1-9]?\\d)\\.){3}\\])$/i`,
  HTML: `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Orders</title><link rel="stylesheet" href="/static/app.css"></head><body class="page page--wide"><table id="orders"><tr><td>Tea</td><td class="num">3.50</td></tr><tr><td colspan="2">&nbsp;&mdash;</td></tr></table><script src="/static/app.js" defer></script></body></html>`,
  LaTeX: `\\begin{theorem}[Banach]\\label{thm:fix} Let $(X,d)$ be a complete metric space and $T\\colon X\\to X$ with $d(Tx,Ty)\\le q\\,d(x,y)$, $0\\le q<1$. Then $\\exists!\\,x^{*}\\in X\\colon Tx^{*}=x^{*}$, and $d(x_n,x^{*})\\le\\frac{q^{n}}{1-q}d(x_1,x_0)$.\\end{theorem}`,
  "JSON, indented": JSON.stringify(
    {
      order: {
        id: "ord_8fQ2",
        placed_at: "2026-03-14T15:09:26Z",
        lines: [
          { sku: "TEA-001", quantity: 2, unit_price: 3.5, tags: ["green", "loose"] },
          { sku: "CUP-17", quantity: 1, unit_price: 12, tags: [] },
        ],
        customer: { name: "Ada Ö.", email: "ada@example.com", vat: null },
        paid: true,
      },
    },
    null,
    2,
  ),
  "JSON, compact": JSON.stringify({
    messages: [
      { role: "system", content: "You are a helpful assistant." },
      { role: "user", content: "What's the weather like in Oslo?" },
    ],
    tools: [
      {
        type: "function",
        function: {
          name: "get_weather",
          parameters: { type: "object", properties: { city: { type: "string" }, unit: { enum: ["c", "f"] } }, required: ["city"] },
        },
      },
    ],
    temperature: 0.2,
  }),
  "JSON, numbers": JSON.stringify(numbers(60).map((value) => [value % 1000, value / 1000, -value])),
  "JSON, escaped": JSON.stringify({ text: "Не забудьте: 明日は雨。 \u{1f327}" }).replace(
    /[^\x20-\x7e]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  ),
  "JSON in JSON": JSON.stringify({
    arguments: JSON.stringify({ path: "C:\\Users\\ada\\notes.txt", content: 'line one\n\tline two\n\n"quoted"' }),
  }),
  "CSV of numbers": numbers(90)
    .map((value, index) => `${value},${(value / 7).toFixed(4)},${index},${value % 97}`)
    .join("\n"),
  Digits: numbers(80).join(""),
  "Numbers in columns": numbers(60)
    .map((value) => String(value).padStart(12))
    .join("\n"),
  Timestamps: numbers(30)
    .map((value) => new Date(1_700_000_000_000 + value * 1000).toISOString())
    .join(" "),
  "Server log": numbers(12)
    .map(
      (value, index) =>
        `10.0.${value % 256}.${index} - - [14/Mar/2026:15:09:${String(value % 60).padStart(2, "0")} +0000] "GET /api/v2/items/${value}?page=${index} HTTP/1.1" 200 ${value % 9973} "-" "curl/8.5.0"`,
    )
    .join("\n"),
  Hexadecimal: hex(400),
  "Hexadecimal, capitals": hex(400).toUpperCase(),
  UUIDs: Array.from({ length: 12 }, (_, at) =>
    hex(32 * (at + 1))
      .slice(-32)
      .replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-"),
  ).join("\n"),
  Base64: base64(600),
  "Base64 of zeros": `${"A".repeat(700)}==`,
  "Random lower case": letters(500, "abcdefghijklmnopqrstuvwxyz"),
  "Random mixed case": letters(500, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"),
  "Random punctuation": letters(500, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"),
  "Random ASCII": letters(600, Array.from({ length: 95 }, (_, at) => String.fromCharCode(32 + at)).join("")),
  DNA: letters(500, "ACGT"),
  Protein: letters(400, "ACDEFGHIKLMNPQRSTVWY"),
  Chess: `1. e4 e5 2. Nf3 Nc6 3. Bb5 a6 4. Ba4 Nf6 5. O-O Be7 6. Re1 b5 7. Bb3 d6 8. c3 O-O 9. h3 Nb8 10. d4 Nbd7 11. Nbd2 Bb7 12. Bc2 Re8 13. Nf1 Bf8 14. Ng3 g6 15. a4 c5 16. d5 c4 17. Bg5 h6 18. Be3 Nc5 19. Qd2 h5`,
  URLs: `https://shop.example.com/catalogue/tea/green?sort=price&dir=asc&page=3&utm_source=news&utm_campaign=spring_26#reviews https://cdn.example.net/img/9f8e7d/thumb@2x.webp?w=640&h=480&fit=crop&sig=Zm9vYmFyYmF6 mailto:ada.l@example.org ftp://files.example.com/pub/README.txt //localhost:8080/%E2%9C%93/%2Fetc%2Fhosts`,
  "File paths": `/usr/local/share/fonts/truetype/DejaVuSansMono-BoldOblique.ttf\nC:\\Program Files (x86)\\Common Files\\Microsoft Shared\\VSTO\\10.0\\1033\\VSTOLoaderUI.dll\n./node_modules/.pnpm/@babel+core@7.24.0/node_modules/@babel/core/lib/transformation/file/merge-map.js`,
  Identifiers: `getUserByIdOrThrowIfNotFound XMLHttpRequestEventTargetFactoryBean snake_case_identifier_with_many_parts SCREAMING_SNAKE_CASE_CONSTANT kebab-case-custom-element __dunder_method__ $scope.$apply nsIDOMHTMLInputElement pthread_mutexattr_setrobust_np`,
  "One long word": "supercalifragilisticexpialidocious".repeat(12),
  "One letter repeated": "a".repeat(512),
  "Two letters repeated": "ab".repeat(256),
  "One capital repeated": "X".repeat(512),
  "A laugh": `${"hahahahahaha ".repeat(20) + "z".repeat(60)} ${"o".repeat(37)}h`,
  Blanks: " ".repeat(1000),
  Tabs: "\t".repeat(400),
  "Line ends": "\n".repeat(400),
  "Windows line ends": "\r\n".repeat(300),
  "Mixed white space": " \n\t  \n\n\t\t \r\n   \n".repeat(40),
  "Deep indentation": Array.from({ length: 30 }, (_, depth) => `${"  ".repeat(depth)}if (a) {`).join("\n"),
  "Tables in Markdown": `| Name | Price | Stock |\n|:-----|------:|:-----:|\n| Tea  | 3.50 | 12 |\n| Cup  | 12.00 | 4 |\n\n---\n\n* **bold** _it_ ~~no~~ \`code\`\n- [ ] todo\n- [x] done\n\n> quote\n\n***\n\n1. one\n2. two\n`,
  Hyphens: "-".repeat(500),
  "Equals signs": "=".repeat(500),
  "Full stops": ".".repeat(500),
  Exclamation: "!".repeat(300) + "?".repeat(300),
  "Underscores and asterisks": "_".repeat(200) + "*".repeat(200) + "#".repeat(200) + "/".repeat(200) + "~".repeat(100),
  Brackets: "((((((((([[[[[[[[[{{{{{{{{{}}}}}}}}}]]]]]]]]])))))))))".repeat(8),
  "Quotes and commas": `"","","","","",`.repeat(30) + `'',`.repeat(40),
  Emoticons: `:-) ;-) :-( :'( :P xD >_< ^_^ T_T -_- o_O \\o/ <3 </3 m(_ _)m (╯°□°)╯︵ ┻━┻ ¯\\_(ツ)_/¯ ಠ_ಠ ʕ•ᴥ•ʔ`,
  "Control characters":
    Array.from({ length: 32 }, (_, at) => String.fromCharCode(at))
      .join("")
      .repeat(8) + "\u007f".repeat(40),
  // Tokens of o200k_base that smaller vocabularies lack.
  "Words of o200k_base": known(/^ [a-z]{8,}$/),
  "Long words of o200k_base": known(/^ [a-z]{12,}$/),
  "Capitals of o200k_base": known(/^ [A-Z]{2,}$/),
  "Long capitals of o200k_base": known(/^ [A-Z]{6,}$/),
  "Names of o200k_base": known(/^[._/(][a-zA-Z]{4,}$/),
  "Punctuation of o200k_base": known(/^[!-/:-@[-`{-~]{2,}$/),
  "Long punctuation of o200k_base": known(/^(?!.*(.)\1{3})[!-/:-@[-`{-~]{5,}$/),
  "Anything of o200k_base": known(/^[ -/:-~]+$/),
  "Long tokens of o200k_base": known(/^(?!.*(.)\1{3})[ -/:-~]{12,}$/),
  "Control tokens as text": "<|endoftext|><|im_start|>user<|im_end|><s></s>[INST][/INST]<bos><eos><start_of_turn>\n\nHuman:\n\nAssistant:",
};

/** Pseudo-random numbers of up to seven digits, the same in every run. */
function numbers(many: number): number[] {
  let state = 20_260_314;
  return Array.from({ length: many }, () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    return (state >>> 8) % 10 ** (1 + (state % 7));
  });
}

function letters(many: number, alphabet: string): string {
  let state = 271_828_182;
  let text = "";
  for (let at = 0; at < many; at++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    text += alphabet.charAt((state >>> 8) % alphabet.length);
  }
  return text;
}

/** A text of 120 tokens of o200k_base that match. */
function known(pattern: RegExp): string {
  const tokens = vocabulary.filter((token) => pattern.test(token));
  return numbers(120)
    .map((_, at) => tokens[(at * 7_919) % tokens.length])
    .join("");
}

function hex(many: number): string {
  return letters(many, "0123456789abcdef");
}

function base64(bytes: number): string {
  return letters(Math.ceil((bytes * 4) / 3), "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
}
