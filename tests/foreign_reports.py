"""Reports and short notes in many languages, written for tests: none of them has a pack."""

# ruff: noqa: E501

REPORTS = {
    "de": "MRT der Lendenwirbelsäule. Befund: Regelrechte Stellung der Wirbelkörper. In Höhe L4/5 "
    "zeigt sich ein breitbasiger Bandscheibenvorfall mit Einengung des Spinalkanals. Keine Fraktur. "
    "Beurteilung: Bandscheibenvorfall L4/5 mit Spinalkanalstenose.",
    "fr": "IRM du rachis lombaire. Résultat : hernie discale postéro-latérale gauche en L5-S1 avec "
    "conflit radiculaire. Le canal lombaire est de calibre normal. Pas de fracture. Conclusion : "
    "hernie discale L5-S1 gauche.",
    "es": "Resonancia magnética de columna lumbar. Hallazgos: se observa una hernia discal en L4-L5 "
    "que comprime el saco dural. No hay signos de fractura. Impresión: hernia discal con estenosis "
    "del canal.",
    "it": "RM del rachide lombosacrale. Si osserva protrusione discale posteriore a livello L4-L5 con "
    "impronta sul sacco durale. Non si rilevano fratture. Conclusioni: stenosi del canale vertebrale.",
    "pt": "Ressonância magnética da coluna lombar. Observa-se abaulamento discal difuso em L4-L5 que "
    "comprime a face ventral do saco dural. Não há fraturas. Conclusão: estenose do canal vertebral.",
    "nl": "MRI van de lumbale wervelkolom. Verslag: op niveau L4-L5 een brede discusbulging met "
    "vernauwing van het wervelkanaal. Geen fractuur. Conclusie: kanaalstenose op niveau L4-L5.",
    "da": "MR af columna lumbalis. Der ses en bredbaset diskusprolaps på niveau L4/L5 med forsnævring "
    "af spinalkanalen. Ingen fraktur. Konklusion: diskusprolaps med spinalstenose.",
    "sv": "MR ländrygg. På nivån L4-L5 ses ett brett diskbråck med förträngning av spinalkanalen. "
    "Ingen fraktur. Normal ställning. Bedömning: diskbråck med spinal stenos.",
    "no": "MR lumbalcolumna. På nivå L4/L5 ses et bredbaset skiveprolaps med innsnevring av "
    "spinalkanalen. Ingen fraktur. Konklusjon: prolaps med spinal stenose.",
    "fi": "Lannerangan magneettikuvaus. Nikamavälissä L4-L5 todetaan laaja välilevyn pullistuma, joka "
    "ahtauttaa selkäydinkanavaa. Ei murtumaa. Lausunto: spinaalistenoosi.",
    "pl": "MR kręgosłupa lędźwiowego. Na poziomie L4-L5 widoczna jest szerokopodstawna przepuklina "
    "krążka z uciskiem worka oponowego. Nie stwierdza się złamań. Wniosek: stenoza kanału.",
    "cs": "MR bederní páteře. V segmentu L4/5 je patrný široký výhřez ploténky se zúžením páteřního "
    "kanálu. Bez známek fraktury. Závěr: stenóza páteřního kanálu.",
    "hu": "A lumbális gerinc MR vizsgálata. Az L4-L5 magasságban széles alapú porckorongsérv látható, "
    "amely a gerinccsatornát szűkíti. Törés nem látható. Vélemény: canalis stenosis.",
    "ro": "IRM coloană lombară. La nivel L4-L5 se observă o hernie de disc cu compresia sacului dural. "
    "Nu se evidențiază fracturi. Concluzii: stenoză de canal vertebral.",
    "tr": "Lomber omurga MR incelemesi. L4-L5 düzeyinde diffüz disk taşması izlenmekte olup spinal "
    "kanal daralmıştır. Kırık saptanmadı. Sonuç: spinal kanal darlığı.",
    "id": "MRI tulang belakang lumbal. Tampak penonjolan diskus pada L4-L5 yang menekan kantung tekal "
    "dan menyempitkan kanalis spinalis. Tidak tampak fraktur. Kesan: stenosis kanalis.",
    "vi": "Cộng hưởng từ cột sống thắt lưng. Thoát vị đĩa đệm tầng L4-L5 chèn ép bao màng cứng, hẹp "
    "ống sống. Không thấy gãy xương. Kết luận: hẹp ống sống.",
    "ru": "МРТ поясничного отдела позвоночника. На уровне L4-L5 определяется грыжа диска, сужающая "
    "позвоночный канал. Переломов нет. Заключение: стеноз позвоночного канала.",
    "el": "Μαγνητική τομογραφία οσφυϊκής μοίρας. Στο επίπεδο Ο4-Ο5 παρατηρείται κήλη δίσκου με στένωση "
    "του σπονδυλικού σωλήνα. Δεν υπάρχει κάταγμα.",
    "ar": "تصوير بالرنين المغناطيسي للعمود الفقري القطني. يوجد انزلاق غضروفي في المستوى L4-L5 مع تضيق "
    "القناة الشوكية. لا يوجد كسر.",
    "he": "הדמיית תהודה מגנטית של עמוד שדרה מותני. בגובה L4-L5 נראה בלט דיסק עם היצרות תעלת השדרה. "
    "אין שבר.",
    "fa": "ام آر آی ستون فقرات کمری. در سطح L4-L5 بیرون زدگی دیسک با تنگی کانال نخاعی دیده می شود.",
    "hi": "कमर की रीढ़ का एमआरआई। L4-L5 स्तर पर डिस्क का उभार है जिससे नलिका संकरी हो गई है।",
    "zh": "腰椎磁共振。L4-L5椎间盘突出,椎管狭窄,硬膜囊受压。未见骨折。印象:椎管狭窄。",
    "ja": "腰椎MRI。L4/5椎間板ヘルニアを認め、脊柱管が狭窄している。骨折は認めない。",
    "ko": "요추 자기공명영상. L4-L5 추간판 탈출증과 척추관 협착이 보임. 골절 없음.",
    "th": "การตรวจเอ็มอาร์ไอกระดูกสันหลังส่วนเอว พบหมอนรองกระดูกเคลื่อนที่ระดับ L4-L5 ทำให้ช่องไขสันหลังตีบ",
}
"""By ISO 639-1."""

NOTES = {
    "de": "LWS MRT. Bandscheibenvorfall L4/5 links, keine Stenose.",
    "fr": "IRM lombaire. Hernie discale L5-S1 gauche, pas de sténose.",
    "es": "RM lumbar. Hernia discal L4-L5 sin estenosis de canal.",
    "it": "RM lombare. Ernia discale L4-L5 a sinistra, non stenosi.",
    "pt": "RM lombar. Hérnia discal L4-L5 à esquerda, sem estenose.",
    "nl": "MRI lumbaal. Hernia L4-L5 links, geen kanaalstenose.",
    "da": "MR columna. Diskusprolaps L4/5 venstre side, ingen stenose.",
    "sv": "MR ländrygg. Diskbråck L4-L5 vänster, ingen stenos.",
    "pl": "MR lędźwiowy. Przepuklina L4-L5 po lewej, bez stenozy.",
    "tr": "Lomber MR. L4-L5 disk hernisi, darlık yok.",
    "id": "MRI lumbal. Hernia diskus L4-L5 kiri, tidak ada stenosis.",
    "ru": "МРТ поясницы. Грыжа L4-L5 слева, стеноза нет.",
    "zh": "腰椎MRI。L4-L5椎间盘突出。",
    "ar": "رنين قطني. انزلاق غضروفي L4-L5 بدون تضيق.",
}
"""Short ones, by ISO 639-1."""

ENGLISH_NOTES = (
    "LSS MRI. Diffuse bulge L4-5",
    "LSS MRI\nL4/5 prolapse",
    "L4-5, L5-S1 disc bulges compressing thecal sac and exit canals",
    "No stenosis.",
    "NAD",
    "Normal study",
    "stenosis L4/5",
    "C-spine: WNL. T-spine: WNL. L-spine: DDD L5/S1.",
    "CXR PA/LAT: NAF.",
    "Heart size normal. Lungs clear.",
    "s/p L4-5 fusion, hardware intact, grade I anterolisthesis L5/S1",
    "DDD w/ mod. B/L NF stenosis L5-S1 > L4-5; no HNP",
    "HISTORY: LBP\nFINDINGS: DJD. HNP L5-S1 (L).\nIMP: HNP",
    "1. Normal. 2. Normal.",
    "Spondylolisthesis grade 1",
    "Pfirrmann IV L4-L5, Modic II",
    "Cauda equina compression",
    "Unchanged.",
)
"""Short English notes, as they are typed: none may be refused."""
