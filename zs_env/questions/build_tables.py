"""Hand-made tables for `build_atlas`: what GeoNames says too shortly, dubiously or out of date.

GeoNames abbreviates currencies ("Dollar"), lists every language of a country without saying which is the main one, and
files a few facts that are contested, shared between two answers or outdated. Such facts are left out here rather than
decided, with the few corrections that are beyond doubt.
"""

from __future__ import annotations

__all__ = [
    "CITY_ALIASES",
    "CONTINENTS",
    "CORRECTIONS",
    "COUNTRY_NAMES",
    "CURRENCIES",
    "DEFINITE",
    "DISPUTED_CITIES",
    "DISPUTED_REGIONS",
    "DROPPED_COUNTRIES",
    "DROPPED_FACTS",
    "LANGUAGES",
    "LOOK_ALIKES",
    "MAIN_LANGUAGE_IS_CLEAR",
    "NO_CITIES",
]


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


# No people, no longer there, or not a place whose country goes without saying.
DROPPED_COUNTRIES = _codes("AN AQ BQ BV CS EH GS HM IO PS SJ TF TK UM VA")

# Territories ("in which country is …?" has two answers there) and places whose status is disputed.
NO_CITIES = _codes(
    "AI AS AW AX BL BM CC CK CW CX FK FO GF GG GI GL GP GU HK IM JE KY MF MO MP MQ MS NC NF NU PF PM PN PR RE SH SX TC "
    "TW VG VI WF XK YT"
)

# First-level regions (GeoNames admin1 codes) that more than one state claims or holds: their cities are left out.
DISPUTED_REGIONS = frozenset(
    {
        ("UA", "11"),  # Crimea
        ("UA", "20"),  # Sevastopol
        ("IL", "06"),  # Jerusalem
        ("IL", "WE"),  # West Bank
        ("CY", "01"),  # Famagusta
        ("CY", "02"),  # Kyrenia
        ("GE", "02"),  # Abkhazia
        ("MD", "58"),  # Transnistria
        *(("SO", code) for code in ("12", "19", "20", "21", "22")),  # Somaliland
        ("IN", "12"),  # Jammu and Kashmir
        ("IN", "41"),  # Ladakh
        ("PK", "06"),  # Azad Kashmir
        ("PK", "07"),  # Gilgit-Baltistan
    }
)
DISPUTED_CITIES = frozenset(
    ["Abyei", "Aghdam", "Bender", "Ceuta", "Himora", "Kafia Kingi", "Melilla", "Mórfou", "Ts’khinvali"]
)

# By relation, the countries whose fact is dubious, shared between two answers or not in use.
DROPPED_FACTS = {
    # Two capitals, none by law, abandoned, contested, or just moved.
    "capital": _codes("BO CC EH GQ IL LK MS NR PW SZ ZA"),
    # Two currencies side by side, or local notes of their own.
    "currency": _codes("FO GG GL IM JE PA ZW"),
    # On two continents, or on the border between two.
    "continent": _codes("AM AU AW AZ CC CW CX CY EG GE ID KZ RU TL TR TT"),
    # Not in use, another territory's, or outdated (Sint Maarten left +599 in 2011).
    "calling_code": _codes("CC CX NF PN SX"),
    "domain": _codes("BL MF"),
}

# What GeoNames has outdated or in an unusual form: (country code, relation) -> accepted answers, best first.
CORRECTIONS: dict[tuple[str, str], tuple[str, ...]] = {
    ("BG", "currency"): ("EUR",),  # joined the euro on 1 January 2026
    ("KZ", "capital"): ("Astana", "Nur-Sultan"),  # named back in September 2022
    ("US", "capital"): ("Washington, D.C.", "Washington", "Washington DC"),
    ("UA", "capital"): ("Kyiv", "Kiev"),
    ("CN", "capital"): ("Beijing", "Peking"),
    ("MM", "capital"): ("Naypyidaw", "Nay Pyi Taw"),
    ("MN", "capital"): ("Ulaanbaatar", "Ulan Bator"),
    ("MX", "capital"): ("Mexico City", "Ciudad de México"),
    ("BR", "capital"): ("Brasília",),
    ("CO", "capital"): ("Bogotá",),
    ("PY", "capital"): ("Asunción",),
    ("CR", "capital"): ("San José",),
    ("CM", "capital"): ("Yaoundé",),
    ("TG", "capital"): ("Lomé",),
    ("MV", "capital"): ("Malé",),
    ("ST", "capital"): ("São Tomé",),
    ("IS", "capital"): ("Reykjavik", "Reykjavík"),
    ("MD", "capital"): ("Chișinău", "Kishinev"),
    ("YE", "capital"): ("Sanaa", "Sana'a"),
    ("CH", "capital"): ("Bern", "Berne"),
    ("TD", "capital"): ("N'Djamena", "Ndjamena"),
    ("NC", "capital"): ("Nouméa",),
    ("GU", "capital"): ("Hagåtña", "Agana"),
    ("KI", "capital"): ("South Tarawa", "Tarawa"),
    ("CW", "capital"): ("Willemstad",),
    ("WF", "capital"): ("Mata-Utu",),
    ("DK", "capital"): ("Copenhagen", "København"),
    ("AT", "capital"): ("Vienna", "Wien"),
    ("RO", "capital"): ("Bucharest", "București"),
    ("TO", "capital"): ("Nuku'alofa", "Nukualofa"),
    ("KG", "capital"): ("Bishkek",),
    ("ER", "capital"): ("Asmara",),
}

# Country code -> (name to show, other names), where GeoNames' own name isn't enough.
COUNTRY_NAMES: dict[str, tuple[str, ...]] = {
    "AE": ("United Arab Emirates", "UAE"),
    "AX": ("Åland Islands", "Åland"),
    "BA": ("Bosnia and Herzegovina", "Bosnia", "Bosnia-Herzegovina"),
    "BL": ("Saint Barthélemy",),
    "BN": ("Brunei", "Brunei Darussalam"),
    "CD": ("Democratic Republic of the Congo", "DR Congo", "DRC", "Democratic Republic of Congo", "Congo-Kinshasa"),
    "CG": ("Republic of the Congo", "Republic of Congo", "Congo-Brazzaville"),
    "CI": ("Ivory Coast", "Côte d'Ivoire"),
    "CN": ("China", "People's Republic of China", "PRC"),
    "CV": ("Cape Verde", "Cabo Verde"),
    "CW": ("Curaçao",),
    "CZ": ("Czech Republic", "Czechia"),
    "FM": ("Micronesia", "Federated States of Micronesia"),
    "GB": ("United Kingdom", "UK", "Great Britain", "Britain"),
    "IE": ("Ireland", "Republic of Ireland"),
    "KG": ("Kyrgyzstan", "Kyrgyz Republic"),
    "KP": ("North Korea", "Democratic People's Republic of Korea", "DPRK"),
    "KR": ("South Korea", "Republic of Korea"),
    "LA": ("Laos", "Lao PDR"),
    "MD": ("Moldova", "Republic of Moldova"),
    "MK": ("North Macedonia", "Macedonia"),
    "MM": ("Myanmar", "Burma"),
    "MO": ("Macau", "Macao"),
    "NL": ("Netherlands", "Holland"),
    "PN": ("Pitcairn Islands", "Pitcairn"),
    "RE": ("Réunion",),
    "RU": ("Russia", "Russian Federation"),
    "SA": ("Saudi Arabia", "Kingdom of Saudi Arabia"),
    "SK": ("Slovakia", "Slovak Republic"),
    "SR": ("Suriname", "Surinam"),
    "ST": ("São Tomé and Príncipe",),
    "SZ": ("Eswatini", "Swaziland"),
    "TL": ("Timor-Leste", "East Timor"),
    "TR": ("Turkey", "Türkiye"),
    "TZ": ("Tanzania", "United Republic of Tanzania"),
    "US": ("United States", "United States of America", "USA", "US"),
    "VI": ("U.S. Virgin Islands", "United States Virgin Islands"),
    "VN": ("Vietnam", "Viet Nam"),
    "WS": ("Samoa", "Western Samoa"),
}

# Written with "the" in a sentence; names in "Islands" are too.
DEFINITE = _codes("AE BS CD CF CG CZ DO GB GM IM KM MV NL PH US")

# Kept on one side of the split although no rule finds them alike.
LOOK_ALIKES = (
    ("MF", "SX"),
    ("DM", "DO"),
    ("NE", "NG"),
    ("GY", "GF"),
    ("AT", "AU"),
    ("SK", "SI"),
    ("LT", "LV"),
    ("VG", "VI"),
)

CONTINENTS = {
    "AF": "Africa",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
}

# GeoNames' first language of these is the one that most people speak or the only official one, beyond argument.
MAIN_LANGUAGE_IS_CLEAR = _codes(
    "AD AE AL AM AR AT AU AX AZ BB BD BG BH BL BM BN BR BS CL CN CO CR CU CZ DE DK DO DZ EC EE EG ES FI FK FO FR GB GE "
    "GG GI GL GP GR GT HN HR HU ID IE IL IM IQ IR IS IT JE JO JP KH KP KR KW KY LA LB LI LT LV LY MA MC MK MM MN MQ MV "
    "MX MY NI NL NO NP NZ OM PE PL PM PT QA RE RO RS RU RW SA SE SI SK SM SO SV SY TH TJ TM TN TO TR UA US UY UZ VE VN "
    "WS XK YE"
)

# Language code -> accepted names, best first.
LANGUAGES: dict[str, tuple[str, ...]] = {
    "ar": ("Arabic",),
    "az": ("Azerbaijani", "Azeri"),
    "bg": ("Bulgarian",),
    "bn": ("Bengali", "Bangla"),
    "ca": ("Catalan",),
    "cs": ("Czech",),
    "da": ("Danish",),
    "de": ("German",),
    "dv": ("Dhivehi", "Maldivian"),
    "el": ("Greek",),
    "en": ("English",),
    "es": ("Spanish", "Castilian"),
    "et": ("Estonian",),
    "fa": ("Persian", "Farsi"),
    "fi": ("Finnish",),
    "fo": ("Faroese",),
    "fr": ("French",),
    "he": ("Hebrew",),
    "hr": ("Croatian",),
    "hu": ("Hungarian",),
    "hy": ("Armenian",),
    "id": ("Indonesian", "Bahasa Indonesia"),
    "is": ("Icelandic",),
    "it": ("Italian",),
    "ja": ("Japanese",),
    "ka": ("Georgian",),
    "kl": ("Greenlandic", "Kalaallisut"),
    "km": ("Khmer", "Cambodian"),
    "ko": ("Korean",),
    "lo": ("Lao", "Laotian"),
    "lt": ("Lithuanian",),
    "lv": ("Latvian",),
    "mk": ("Macedonian",),
    "mn": ("Mongolian",),
    "ms": ("Malay", "Bahasa Melayu"),
    "mt": ("Maltese",),
    "my": ("Burmese",),
    "ne": ("Nepali", "Nepalese"),
    "nl": ("Dutch",),
    "no": ("Norwegian",),
    "pl": ("Polish",),
    "pt": ("Portuguese",),
    "ro": ("Romanian",),
    "ru": ("Russian",),
    "rw": ("Kinyarwanda", "Rwandan"),
    "si": ("Sinhala", "Sinhalese"),
    "sk": ("Slovak",),
    "sl": ("Slovenian", "Slovene"),
    "sm": ("Samoan",),
    "so": ("Somali",),
    "sq": ("Albanian",),
    "sr": ("Serbian",),
    "sv": ("Swedish",),
    "tg": ("Tajik",),
    "th": ("Thai",),
    "tk": ("Turkmen",),
    "to": ("Tongan",),
    "tr": ("Turkish",),
    "uk": ("Ukrainian",),
    "uz": ("Uzbek",),
    "vi": ("Vietnamese",),
    "zh": ("Chinese", "Mandarin", "Mandarin Chinese"),
}

# Code: full name | other full names … | bare noun. The code itself is accepted too.
_CURRENCIES = """
AED: UAE dirham | United Arab Emirates dirham | Emirati dirham | dirham
AFN: Afghan afghani | afghani
ALL: Albanian lek | lek
AMD: Armenian dram | dram
AOA: Angolan kwanza | kwanza
ARS: Argentine peso | Argentinian peso | peso
AUD: Australian dollar | dollar
AWG: Aruban florin | Aruban guilder | florin
AZN: Azerbaijani manat | Azerbaijan manat | manat
BAM: Bosnian convertible mark | Bosnia and Herzegovina convertible mark | convertible mark | mark
BBD: Barbadian dollar | Barbados dollar | dollar
BDT: Bangladeshi taka | taka
BHD: Bahraini dinar | Bahrain dinar | dinar
BIF: Burundian franc | Burundi franc | franc
BMD: Bermudian dollar | Bermuda dollar | dollar
BND: Brunei dollar | dollar
BOB: Bolivian boliviano | boliviano
BRL: Brazilian real | real
BSD: Bahamian dollar | dollar
BTN: Bhutanese ngultrum | ngultrum
BWP: Botswana pula | pula
BYN: Belarusian ruble | Belarusian rouble | rouble | ruble
BZD: Belize dollar | Belizean dollar | dollar
CAD: Canadian dollar | dollar
CDF: Congolese franc | franc
CHF: Swiss franc | franc
CLP: Chilean peso | peso
CNY: Chinese yuan | renminbi | yuan renminbi | Chinese renminbi | yuan
COP: Colombian peso | peso
CRC: Costa Rican colón | colón
CUP: Cuban peso | peso
CVE: Cape Verdean escudo | Cape Verde escudo | escudo
CZK: Czech koruna | Czech crown | koruna
DJF: Djiboutian franc | Djibouti franc | franc
DKK: Danish krone | Danish crown | krone
DOP: Dominican peso | peso
DZD: Algerian dinar | dinar
EGP: Egyptian pound | pound
ERN: Eritrean nakfa | nakfa
ETB: Ethiopian birr | birr
EUR: euro
FJD: Fijian dollar | Fiji dollar | dollar
FKP: Falkland Islands pound | Falklands pound | pound
GBP: pound sterling | British pound | British pound sterling | sterling | pound
GEL: Georgian lari | lari
GHS: Ghanaian cedi | Ghana cedi | cedi
GIP: Gibraltar pound | pound
GMD: Gambian dalasi | dalasi
GNF: Guinean franc | Guinea franc | franc
GTQ: Guatemalan quetzal | quetzal
GYD: Guyanese dollar | Guyana dollar | dollar
HKD: Hong Kong dollar | dollar
HNL: Honduran lempira | lempira
HTG: Haitian gourde | gourde
HUF: Hungarian forint | forint
IDR: Indonesian rupiah | rupiah
ILS: Israeli new shekel | new shekel | Israeli shekel | shekel
INR: Indian rupee | rupee
IQD: Iraqi dinar | dinar
IRR: Iranian rial | rial
ISK: Icelandic króna | Icelandic crown | króna
JMD: Jamaican dollar | Jamaica dollar | dollar
JOD: Jordanian dinar | dinar
JPY: Japanese yen | yen
KES: Kenyan shilling | Kenya shilling | shilling
KGS: Kyrgyzstani som | Kyrgyz som | som
KHR: Cambodian riel | riel
KMF: Comorian franc | Comoro franc | franc
KPW: North Korean won | won
KRW: South Korean won | Korean won | won
KWD: Kuwaiti dinar | Kuwait dinar | dinar
KYD: Cayman Islands dollar | Cayman dollar | dollar
KZT: Kazakhstani tenge | Kazakh tenge | tenge
LAK: Lao kip | Laotian kip | kip
LBP: Lebanese pound | Lebanese lira | pound
LKR: Sri Lankan rupee | Sri Lanka rupee | rupee
LRD: Liberian dollar | dollar
LSL: Lesotho loti | loti
LYD: Libyan dinar | dinar
MAD: Moroccan dirham | dirham
MDL: Moldovan leu | leu
MGA: Malagasy ariary | ariary
MKD: Macedonian denar | denar
MMK: Myanmar kyat | Burmese kyat | kyat
MNT: Mongolian tugrik | Mongolian tögrög | tögrög | tugrik
MOP: Macanese pataca | Macau pataca | pataca
MRU: Mauritanian ouguiya | ouguiya
MUR: Mauritian rupee | Mauritius rupee | rupee
MVR: Maldivian rufiyaa | rufiyaa
MWK: Malawian kwacha | Malawi kwacha | kwacha
MXN: Mexican peso | peso
MYR: Malaysian ringgit | ringgit
MZN: Mozambican metical | Mozambique metical | metical
NAD: Namibian dollar | Namibia dollar | dollar
NGN: Nigerian naira | naira
NIO: Nicaraguan córdoba | córdoba
NOK: Norwegian krone | Norwegian crown | krone
NPR: Nepalese rupee | Nepali rupee | rupee
NZD: New Zealand dollar | dollar
OMR: Omani rial | Oman rial | rial
PEN: Peruvian sol | Peruvian nuevo sol | nuevo sol | sol
PGK: Papua New Guinean kina | kina
PHP: Philippine peso | peso
PKR: Pakistani rupee | Pakistan rupee | rupee
PLN: Polish zloty | Polish złoty | złoty | zloty
PYG: Paraguayan guaraní | guaraní
QAR: Qatari riyal | Qatari rial | riyal
RON: Romanian leu | leu
RSD: Serbian dinar | dinar
RUB: Russian ruble | Russian rouble | rouble | ruble
RWF: Rwandan franc | Rwanda franc | franc
SAR: Saudi riyal | Saudi Arabian riyal | riyal
SBD: Solomon Islands dollar | dollar
SCR: Seychellois rupee | Seychelles rupee | rupee
SDG: Sudanese pound | pound
SEK: Swedish krona | Swedish crown | krona
SGD: Singapore dollar | dollar
SHP: Saint Helena pound | pound
SLE: Sierra Leonean leone | leone
SOS: Somali shilling | shilling
SRD: Surinamese dollar | Suriname dollar | dollar
SSP: South Sudanese pound | pound
STN: São Tomé and Príncipe dobra | dobra
SYP: Syrian pound | Syrian lira | pound
SZL: Swazi lilangeni | lilangeni
THB: Thai baht | baht
TJS: Tajikistani somoni | Tajik somoni | somoni
TMT: Turkmenistan manat | Turkmen manat | Turkmenistani manat | manat
TND: Tunisian dinar | dinar
TOP: Tongan pa'anga | pa'anga
TRY: Turkish lira | lira
TTD: Trinidad and Tobago dollar | dollar
TWD: New Taiwan dollar | Taiwan dollar | Taiwanese dollar | dollar
TZS: Tanzanian shilling | Tanzania shilling | shilling
UAH: Ukrainian hryvnia | hryvnia
UGX: Ugandan shilling | Uganda shilling | shilling
USD: US dollar | United States dollar | American dollar | dollar
UYU: Uruguayan peso | peso
UZS: Uzbekistani som | Uzbek som | so'm | som
VES: Venezuelan bolívar | bolívar soberano | bolívar
VND: Vietnamese dong | Vietnamese đồng | đồng | dong
VUV: Vanuatu vatu | vatu
WST: Samoan tala | Samoan tālā | tālā | tala
XAF: Central African CFA franc | CFA franc | franc
XCD: Eastern Caribbean dollar | East Caribbean dollar | dollar
XCG: Caribbean guilder | guilder
XOF: West African CFA franc | CFA franc | franc
XPF: CFP franc | Pacific franc | franc
YER: Yemeni rial | Yemen rial | rial
ZAR: South African rand | rand
ZMW: Zambian kwacha | kwacha
"""

CURRENCIES: dict[str, tuple[str, ...]] = {
    line[:3]: (*(name.strip() for name in line[4:].split("|")), line[:3]) for line in _CURRENCIES.strip().splitlines()
}

# City as GeoNames writes it -> other English names that people search for.
CITY_ALIASES: dict[str, tuple[str, ...]] = {
    "Bengaluru": ("Bangalore",),
    "Chennai": ("Madras",),
    "Guangzhou": ("Canton",),
    "Ho Chi Minh City": ("Saigon",),
    "Kolkata": ("Calcutta",),
    "Köln": ("Cologne",),
    "Kyiv": ("Kiev",),
    "Lviv": ("Lvov",),
    "Marrakesh": ("Marrakech",),
    "Mumbai": ("Bombay",),
    "New York City": ("New York", "NYC"),
    "Nuremberg": ("Nürnberg",),
    "Odesa": ("Odessa",),
    "Yangon": ("Rangoon",),
}
