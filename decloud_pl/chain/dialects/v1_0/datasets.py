"""The data sets of the program, in the order of their index on chain."""

from __future__ import annotations

# fmt: off
DATASETS: tuple[str, ...] = (
    "Cifar10", "Cifar100", "Mnist", "FashionMnist", "Emnist", "Kmnist", "Food101", "Flowers102",
    "StanfordDogs", "StanfordCars", "OxfordPets", "CatsVsDogs", "Eurosat", "Svhn", "Caltech101",
    "Caltech256", "Imdb", "Sst2", "Sst5", "YelpReviews", "AmazonPolarity", "RottenTomatoes",
    "FinancialSentiment", "TweetSentiment", "AgNews", "Dbpedia", "YahooAnswers", "TwentyNewsgroups",
    "SmsSpam", "HateSpeech", "CivilComments", "Toxicity", "ClincIntent", "Banking77", "SnipsIntent",
    "Conll2003", "Wnut17", "Squad", "SquadV2", "TriviaQa", "BoolQ", "CommonsenseQa", "Stsb", "Mrpc",
    "Qqp", "Snli", "Mnli", "CnnDailymail", "Xsum", "Samsum", "SpeechCommands", "Librispeech",
    "CommonVoice", "Gtzan", "Esc50", "Urbansound8k", "Nsynth", "Ravdess", "CremaD", "Iemocap",
    "Iris", "Wine", "Diabetes", "BreastCancer", "CaliforniaHousing", "AdultIncome", "BankMarketing",
    "CreditDefault", "Titanic", "HeartDisease", "ChestXray", "SkinCancer", "DiabeticRetinopathy",
    "BrainTumor", "Malaria", "BloodCells", "CovidXray", "PubmedQa", "MedQa", "Electricity",
    "Weather", "StockPrices", "EcgHeartbeat", "CodeSearchNet", "Humaneval", "Mbpp", "Spider",
    "Cora", "Citeseer", "Qm9", "NslKdd", "CreditCardFraud", "Phishing", "Movielens1m",
    "Movielens100k", "Xnli", "AmazonReviewsMulti", "Sberquad", "Custom",
)
# fmt: on
"""The names in the program."""
DATASET_NAMES = tuple(name.lower() for name in DATASETS)
"""The names in settings and rounds."""
