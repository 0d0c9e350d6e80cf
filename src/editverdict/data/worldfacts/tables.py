"""What the packages do not say: disputed or ambiguous cases to leave out, and common other names.

Everything here only *removes* doubtful facts or *adds* accepted names; no fact comes from these tables.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NOT_COUNTRIES = _words("TW HK MO PS EH XK PR RE GP MQ GF YT NC PF GI GU AS AW CW SX BQ BM KY FK CS AN")
"""Territories and places whose country is disputed."""

AMBIGUOUS_NAMES = _words("GE CG CD GN GQ GW KP SD SS DM WS")
"""Names that occur in another country's name, or that a US state shares."""

ARTICLE = _words("US GB NL PH AE DO BS MV CF GM KM SB CZ SC MH")
"""Names that English gives an article (or that are in dispute): never a subject or a new object."""

DOUBTFUL_CAPITAL = _words("BO ZA LK IL SZ CI BJ KZ ID MY TZ YE MM GQ CL NL BI ME")
"""More than one seat of government, a recent change, or no agreement."""

DOUBTFUL_CONTINENT = _words("RU TR KZ EG GE AM AZ CY ID TL AU PA TT")
"""Countries that lie on, or are counted to, more than one continent."""

DOUBTFUL_CURRENCY = _words("BG ZW VE LR SL MR ZM BY BA")
"""A change of currency or of its code in recent years."""

DOUBTFUL_LANGUAGE = _words("ML NE BF MX US GB AU ER MR MU LR BA ME RS HR NO DZ MA IQ SO TD CH IL NG NA MV")
"""No official language in law, a recent change, or more than one in use."""

DISPUTED_REGIONS = frozenset(
    {("UA", "05"), ("UA", "08"), ("UA", "11"), ("UA", "14"), ("UA", "20"), ("UA", "26"), ("IN", "12"), ("IN", "41"),
     ("IN", "30"), ("PK", "06"), ("PK", "07")}
)  # fmt: skip
"""(country, first-level division in GeoNames) whose cities are left out."""

DISPUTED_COUNTRIES_OF_CITIES = _words("IL AZ AM CY MD SO")
"""Countries whose cities and provinces are left out altogether."""

OTHER_CAPITALS = tuple(
    """Astana:La Paz:Sucre:Cape Town:Bloemfontein:Pretoria:Lobamba:Dar es Salaam:Putrajaya:The Hague:Valparaiso:Gitega:
    Bujumbura:Cotonou:Porto-Novo:Sri Jayawardenepura Kotte:Colombo:Abidjan:Nusantara:Yangon:Lagos:Almaty:Tel Aviv:
    Jerusalem:Cetinje:Nay Pyi Taw:Naypyidaw:Malabo:Delhi:Buda:Pest""".replace("\n    ", "").split(":")
)
"""Seats of government and former capitals; like the capitals, they are never moved."""

PART_WORDS = _words("north south east west upper lower heights hills meads")
"""Words in the names of US places that are parts of a city (or, once, no city at all)."""

NO_OTHER_NAME = _words("KR MK RW MD YE")
"""Countries whose formal name is disputed, dated or another country's too."""

COUNTRY_NAMES: dict[str, tuple[str, ...]] = {
    "US": ("the United States", "United States of America", "the United States of America", "USA", "the USA",
           "U.S.", "the U.S.", "U.S.A.", "America"),
    "GB": ("the United Kingdom", "UK", "the UK", "U.K.", "Great Britain", "Britain", "England"),
    "NL": ("Netherlands", "the Netherlands", "Holland"),
    "PH": ("the Philippines",),
    "AE": ("the United Arab Emirates", "UAE", "the UAE"),
    "DO": ("the Dominican Republic",),
    "CZ": ("Czech Republic", "the Czech Republic"),
    "CF": ("the Central African Republic",),
    "CI": ("Cote d'Ivoire", "Côte d'Ivoire"),
    "KR": ("Republic of Korea", "the Republic of Korea", "Korea"),
    "MM": ("Burma",),
    "RU": ("Russian Federation", "the Russian Federation"),
    "TR": ("Turkiye", "Türkiye"),
    "CN": ("PRC", "People's Republic of China", "the People's Republic of China"),
    "SZ": ("Swaziland",),
    "MK": ("Macedonia", "Republic of North Macedonia"),
    "VN": ("Viet Nam",),
    "BR": ("Brasil",),
    "RO": ("Rumania",),
    "LA": ("Lao PDR",),
    "BA": ("Bosnia", "Bosnia-Herzegovina"),
    "TL": ("East Timor", "Timor-Leste"),
    "CV": ("Cape Verde",),
    "SY": ("Syrian Arab Republic",),
    "IR": ("Islamic Republic of Iran", "Persia"),
}  # fmt: skip
"""Accepted names of a country, beside the formal ones that countryinfo lists."""

FORMER_COUNTRY_NAMES: dict[str, str] = {
    "MM": "Burma",
    "IR": "Persia",
    "LK": "Ceylon",
    "TH": "Siam",
    "CI": "Cote d'Ivoire",
    "ET": "Abyssinia",
    "KH": "Kampuchea",
}
"""Another name of a country that does not contain its present one."""

COMMON_CITY_NAMES: dict[str, tuple[str, ...]] = {
    "IN": ("Mumbai:Bombay", "Kolkata:Calcutta", "Chennai:Madras", "Bengaluru:Bangalore", "Pune:Poona",
           "Varanasi:Benares", "Kanpur:Cawnpore", "Vadodara:Baroda", "Visakhapatnam:Vizagapatam",
           "Thiruvananthapuram:Trivandrum", "Kochi:Cochin", "Kozhikode:Calicut", "Mysuru:Mysore", "Mysore:Mysuru",
           "Mangaluru:Mangalore", "Vijayawada:Bezwada", "Prayagraj:Allahabad", "Allahabad:Prayagraj",
           "Gurugram:Gurgaon", "Gurgaon:Gurugram", "Puducherry:Pondicherry", "Hubli:Hubballi", "Jabalpur:Jubbulpore",
           "Nagpur:Nagpore", "Kannur:Cannanore", "Thanjavur:Tanjore", "Tiruchirappalli:Trichinopoly",
           "Guwahati:Gauhati", "Belgaum:Belagavi", "Gulbarga:Kalaburagi", "Thrissur:Trichur", "Kollam:Quilon"),
    "PK": ("Faisalabad:Lyallpur", "Karachi:Kurrachee"),
    "BD": ("Chattogram:Chittagong", "Cumilla:Comilla", "Comilla:Cumilla", "Bogra:Bogura"),
    "VN": ("Ho Chi Minh City:Saigon", "Da Nang:Tourane", "Haiphong:Hai Phong"),
    "MM": ("Yangon:Rangoon", "Mawlamyine:Moulmein", "Pathein:Bassein", "Sittwe:Akyab", "Bago:Pegu"),
    "RU": ("Saint Petersburg:Leningrad", "Volgograd:Stalingrad", "Yekaterinburg:Sverdlovsk",
           "Nizhniy Novgorod:Gorky", "Samara:Kuybyshev", "Perm:Molotov", "Kaliningrad:Koenigsberg",
           "Krasnodar:Yekaterinodar", "Ulyanovsk:Simbirsk", "Tver:Kalinin", "Vladikavkaz:Ordzhonikidze",
           "Novosibirsk:Novonikolayevsk", "Orenburg:Chkalov", "Vyatka:Kirov", "Kirov:Vyatka"),
    "TR": ("Istanbul:Constantinople", "Izmir:Smyrna", "Gaziantep:Antep", "Adana:Seyhan", "Bursa:Brusa",
           "Antakya:Antioch", "Konya:Iconium", "Trabzon:Trebizond", "Edirne:Adrianople", "Kayseri:Caesarea"),
    "CN": ("Guangzhou:Canton", "Nanjing:Nanking", "Tianjin:Tientsin", "Qingdao:Tsingtao", "Chongqing:Chungking",
           "Suzhou:Soochow", "Xiamen:Amoy", "Shenyang:Mukden", "Shantou:Swatow", "Dalian:Dairen", "Xi'an:Sian",
           "Xi'an:Hsi-an", "Hangzhou:Hangchow", "Fuzhou:Foochow", "Ningbo:Ningpo", "Zhengzhou:Chengchow",
           "Chengdu:Chengtu", "Lanzhou:Lanchow", "Changchun:Hsinking", "Jinan:Tsinan", "Guiyang:Kweiyang",
           "Kaifeng:Bianjing", "Yantai:Chefoo", "Wenzhou:Wenchow", "Yangzhou:Yangchow", "Xuzhou:Hsuchow",
           "Jilin:Kirin", "Qiqihar:Tsitsihar", "Hohhot:Huhehot", "Taiyuan:Yangku", "Lhasa:Lasa",
           "Nanchang:Nan-ch'ang", "Zhenjiang:Chinkiang", "Wuxi:Wu-hsi", "Haikou:Hoihow", "Baoding:Paoting"),
    "KR": ("Busan:Pusan", "Daegu:Taegu", "Incheon:Inchon", "Gwangju:Kwangju", "Daejeon:Taejon", "Jeonju:Chonju",
           "Cheongju:Chongju", "Jeju:Cheju", "Changwon:Ch'angwon", "Pohang:P'ohang"),
    "JP": ("Fukuoka:Hakata", "Kobe:Kobe-shi", "Hakodate:Hakodadi"),
    "DE": ("Munich:Muenchen", "Köln:Cologne", "Koeln:Cologne", "Nuremberg:Nuernberg", "Chemnitz:Karl-Marx-Stadt",
           "Hannover:Hanover", "Aachen:Aix-la-Chapelle", "Mainz:Mayence",
           "Düsseldorf:Duesseldorf", "Trier:Treves", "Regensburg:Ratisbon", "Koblenz:Coblenz"),
    "IT": ("Milan:Milano", "Turin:Torino", "Naples:Napoli", "Florence:Firenze", "Venice:Venezia", "Genoa:Genova",
           "Padua:Padova", "Livorno:Leghorn", "Syracuse:Siracusa", "Mantova:Mantua", "Bolzano:Bozen"),
    "ES": ("Seville:Sevilla", "Zaragoza:Saragossa", "Donostia / San Sebastián:San Sebastian",
           "Pamplona:Iruna", "Alicante:Alacant", "Cordoba:Cordova", "A Coruña:Corunna", "Gasteiz / Vitoria:Vitoria"),
    "SE": ("Göteborg:Gothenburg", "Gothenburg:Goeteborg", "Malmö:Malmoe"),
    "PL": ("Kraków:Cracow", "Krakow:Cracow", "Wrocław:Breslau", "Wroclaw:Breslau", "Gdańsk:Danzig", "Gdansk:Danzig",
           "Szczecin:Stettin", "Poznań:Posen", "Poznan:Posen", "Katowice:Kattowitz", "Bydgoszcz:Bromberg",
           "Gdynia:Gdingen", "Toruń:Thorn", "Zabrze:Hindenburg", "Gliwice:Gleiwitz", "Bytom:Beuthen"),
    "UA": ("Kharkiv:Kharkov", "Lviv:Lvov", "Odesa:Odessa", "Dnipro:Dnipropetrovsk", "Mykolayiv:Nikolaev",
           "Kryvyi Rih:Krivoi Rog", "Vinnytsia:Vinnitsa", "Chernihiv:Chernigov", "Chernivtsi:Czernowitz",
           "Zhytomyr:Zhitomir", "Ternopil:Tarnopol", "Rivne:Rovno", "Ivano-Frankivsk:Stanislav"),
    "CH": ("Genève:Geneva", "Geneva:Geneve", "Basel:Basle", "Zürich:Zurich", "Lucerne:Luzern"),
    "BE": ("Antwerpen:Antwerp", "Antwerp:Antwerpen", "Gent:Ghent", "Brugge:Bruges", "Liège:Luik", "Leuven:Louvain"),
    "PT": ("Porto:Oporto",),
    "GR": ("Thessaloníki:Salonica", "Thessaloniki:Salonica", "Pátra:Patras", "Piraeus:Peiraias", "Irákleion:Candia"),
    "SY": ("Aleppo:Halab", "Homs:Emesa", "Latakia:Laodicea", "Hama:Hamah"),
    "IR": ("Isfahan:Ispahan", "Mashhad:Meshed", "Kermanshah:Bakhtaran", "Urmia:Rezaiyeh", "Shiraz:Chiraz"),
    "EG": ("Alexandria:Al Iskandariyah", "Giza:Al Jizah", "Port Said:Bur Sa`id", "Luxor:Thebes"),
    "MA": ("Fes:Fez", "Fès:Fez", "Marrakesh:Marrakech", "Tangier:Tanger", "Casablanca:Dar-el-Beida",
           "Essaouira:Mogador"),
    "DZ": ("Constantine:Cirta", "Annaba:Bone", "Bejaia:Bougie", "Oran:Wahran"),
    "ZA": ("Johannesburg:Joburg", "Durban:EThekwini", "Gqeberha:Port Elizabeth", "Polokwane:Pietersburg"),
    "MZ": ("Beira:Beyra", "Xai-Xai:Joao Belo"),
    "AO": ("Huambo:Nova Lisboa", "Lubango:Sa da Bandeira"),
    "ID": ("Makassar:Ujung Pandang", "Surabaya:Soerabaja", "Bandung:Bandoeng", "Bogor:Buitenzorg", "Malang:Malanga",
           "Yogyakarta:Jogjakarta", "Banda Aceh:Kutaraja", "Surakarta:Solo", "Semarang:Samarang"),
    "MY": ("George Town:Penang", "Kota Kinabalu:Jesselton", "Malacca:Melaka", "Klang:Kelang", "Kota Bharu:Kota Baharu"),
    "KZ": ("Almaty:Alma-Ata", "Shymkent:Chimkent", "Semey:Semipalatinsk", "Aktobe:Aktyubinsk", "Oral:Ural'sk",
           "Pavlodar:Kereku", "Taraz:Dzhambul", "Atyrau:Gur'yev", "Kyzylorda:Perovsk"),
    "UZ": ("Samarkand:Samarqand", "Bukhara:Boukhara", "Fergana:Skobelev", "Andijon:Andizhan", "Namangan:Namanghan"),
    "LT": ("Kaunas:Kovno", "Klaipėda:Memel", "Klaipeda:Memel"),
    "CZ": ("Brno:Bruenn", "Pilsen:Plzen", "Ostrava:Ostrau", "Olomouc:Olmuetz", "Liberec:Reichenberg"),
    "SK": ("Košice:Kassa", "Kosice:Kassa"),
    "HU": ("Debrecen:Debreczen", "Pécs:Fuenfkirchen", "Pecs:Fuenfkirchen", "Szeged:Szegedin", "Győr:Raab"),
    "RO": ("Cluj-Napoca:Klausenburg", "Timişoara:Temesvar", "Braşov:Kronstadt", "Sibiu:Hermannstadt",
           "Constanţa:Tomis", "Iaşi:Jassy", "Oradea:Grosswardein"),
    "BG": ("Plovdiv:Philippopolis", "Burgas:Bourgas"),
    "HR": ("Split:Spalato", "Rijeka:Fiume", "Dubrovnik:Ragusa", "Zadar:Zara", "Osijek:Esseg"),
    "RS": ("Novi Sad:Neusatz", "Niš:Nisch", "Nis:Nisch", "Subotica:Szabadka"),
    "FI": ("Turku:Abo", "Tampere:Tammerfors", "Espoo:Esbo", "Oulu:Uleaborg", "Vantaa:Vanda"),
    "NO": ("Trondheim:Nidaros", "Bergen:Bjorgvin"),
    "DK": ("Århus:Aarhus", "Aarhus:Arhus"),
    "FR": ("Strasbourg:Strassburg", "Lyon:Lugdunum", "Nice:Nizza", "Toulouse:Tolosa", "Marseille:Massilia",
           "Lille:Rijsel", "Dunkerque:Dunkirk", "Bordeaux:Burdigala", "Nantes:Naoned", "Rennes:Roazhon"),
    "TM": ("Türkmenabat:Chardzhou", "Turkmenabat:Chardzhou", "Mary:Merv"),
    "SA": ("Jeddah:Jiddah", "Mecca:Makkah", "Medina:Yathrib", "Dammam:Ad Dammam"),
    "IQ": ("Mosul:Al Mawsil al Jadidah", "Basrah:Basra", "Erbil:Arbil", "Kirkuk:Karkuk"),
    "LY": ("Benghazi:Bengasi", "Misratah:Misurata"),
    "EC": ("Guayaquil:Santiago de Guayaquil",),
    "PE": ("Cusco:Cuzco",),
    "TH": ("Nakhon Ratchasima:Khorat", "Hat Yai:Haad Yai", "Chiang Mai:Chiengmai"),
    "ET": ("Nazret:Adama", "Adama:Nazret", "Dire Dawa:Diredawa"),
    "US": ("Philadelphia:Philly", "San Francisco:Frisco", "Chicago:Chi-Town"),
}  # fmt: skip
"""Country -> 'name:other name'; used only where GeoNames lists the other name among the city's alternate names."""

LANGUAGE_NAMES: dict[str, tuple[str, ...]] = {
    "Bangla": ("Bengali", "Bangla"),
    "Chinese": ("Chinese", "Mandarin", "Mandarin Chinese", "Standard Chinese"),
    "Persian": ("Persian", "Farsi"),
    "Spanish": ("Spanish", "Castilian"),
    "Burmese": ("Burmese", "Myanmar"),
    "Khmer": ("Khmer", "Cambodian"),
    "Malay": ("Malay", "Bahasa Malaysia"),
    "Indonesian": ("Indonesian", "Bahasa Indonesia"),
    "Dutch": ("Dutch", "Flemish"),
}
"""Name in CLDR -> accepted names, the canonical one first."""

CURRENCY_NAMES: dict[str, tuple[str, ...]] = {
    "GBP": ("British pound", "pound sterling", "pound", "sterling"),
    "CNY": ("Chinese yuan", "yuan", "renminbi"),
    "USD": ("US dollar", "U.S. dollar", "United States dollar", "dollar"),
    "PLN": ("Polish zloty", "zloty"),
    "PEN": ("Peruvian sol", "sol", "nuevo sol"),
    "BRL": ("Brazilian real", "real"),
    "DKK": ("Danish krone", "krone"),
    "EUR": ("euro",),
    "ILS": ("Israeli shekel", "shekel", "new shekel", "Israeli new shekel"),
}
"""Code -> accepted names, the canonical one first, where CLDR's name does not do."""

CONTINENT_NAMES: dict[str, tuple[str, ...]] = {
    "AF": ("Africa",),
    "AS": ("Asia",),
    "EU": ("Europe",),
    "NA": ("North America",),
    "SA": ("South America",),
}

AMBIGUOUS_SYMBOLS = _words("As At Be He I In Am No Ho")
"""Symbols that are English words: a lexical judge could not tell them from running text."""

GENERIC_WORDS = _words(
    """north south east west northern southern eastern western northeast northwest central centre center upper lower
    capital district districts region regions island islands province city metropolitan coast highlands lake lakes
    river rivers delta plateau valley territory territories state free federal distrito departamento mountain bay sea
    coastal inland interior and of other autonomous republic norte sur sud nord est ouest oeste centro port middle
    national new great haut basse bas haute cross grande litoral littoral equateur equator plateaux savannah
    markazi pwani valle barat tengah timur selatan utara colon cortes"""
)
"""Words that make a province's name a description rather than a name."""

ELEMENT_NAMES: dict[str, tuple[str, ...]] = {
    "aluminum": ("aluminium",),
    "sulfur": ("sulphur",),
    "cesium": ("caesium",),
    "tungsten": ("wolfram",),
}
"""Other accepted names of elements."""

REGION_COUNTRIES = _words("IN VN TH IR CO PE VE NG EC AR CL TR MX PK UG TZ MZ NP AF CU HN GT JP IT FR CN CA NL AU BR")
"""Countries whose provinces in countryinfo were looked through (Angola's list holds Andorra's parishes, for one)."""

DISPUTED_PROVINCES = frozenset(
    {"jammu and kashmir", "arunachal pradesh", "crimea", "krym", "sevastopol", "sevastopol city", "donetsk", "luhansk",
     "kherson", "zaporizhzhya", "taiwan", "kashmir", "azad kashmir", "chechnya", "chechen", "xizang", "tibet"}
)  # fmt: skip
